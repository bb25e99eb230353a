"""Questions a rule asks of a kernel: its blocks, their roles, axes and accesses.

Attributes of TVM objects that releases rename are read in this file only.
"""

from __future__ import annotations

from math import prod
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm_ffi import structural

from schedules.roles import ROLE

_SPATIAL, _REDUCTION = 0, 2  # IterVar.iter_type: data-parallel, commutative reduction
_CHEAP_OPS = {
    *("tirx.likely", "tirx.round", "tirx.floor", "tirx.ceil", "tirx.fabs", "tirx.sqrt"),
    "tirx.reinterpret",  # by which integer kernels round
}

# As `compiler/kernels/elementary.py` has them; the others are calls of libm, lane by lane.
_EXPONENTIALS = {"tirx.exp", "tirx.tanh", "tirx.sigmoid"}
_POLYNOMIALS = {*_EXPONENTIALS, "tirx.erf"}


def root_block(sch: s_tir.Schedule) -> Any | None:
    """The root block, None for functions written as plain loops, perhaps inside one block."""
    body = sch.mod["main"].body
    if not isinstance(body, s_tir.SBlockRealize) or body.block.name_hint != "root":
        return None
    return sch.get_sblock("root")


def blocks(sch: s_tir.Schedule) -> list[Any]:
    """The kernel's blocks in program order."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def output_blocks(sch: s_tir.Schedule) -> list[Any]:
    """The blocks that write the kernel's outputs."""
    return list(sch.get_output_blocks(sch.get_sblock("root")))


def name(sch: s_tir.Schedule, block: Any) -> str:
    """The block's name."""
    return str(sch.get(block).name_hint)


def role(sch: s_tir.Schedule, block: Any) -> str | None:
    """What the stage that made the block said it is, None if nothing."""
    return word(sch, block, ROLE)


def word(sch: s_tir.Schedule, block: Any, key: str) -> str | None:
    """A word that a stage wrote on the block, None if it wrote none."""
    value = sch.get(block).annotations.get(key)
    return None if value is None else str(value)


def block_with_role(sch: s_tir.Schedule, wanted: str) -> Any | None:
    """The one block of that role, None if there is none or more than one."""
    found = [block for block in blocks(sch) if role(sch, block) == wanted]
    return found[0] if len(found) == 1 else None


def annotation(sch: s_tir.Schedule, block: Any, key: str) -> int:
    """A whole number that a stage wrote on the block."""
    return int(sch.get(block).annotations[key])


def sole_consumer(sch: s_tir.Schedule, block: Any) -> Any | None:
    """The one block that reads what this block writes, None if there are more."""
    consumers = list(sch.get_consumers(block))
    return consumers[0] if len(consumers) == 1 else None


def axis_kinds(sch: s_tir.Schedule, block: Any) -> str:
    """One letter for each axis: S spatial, R reduction, O other."""
    letters = {_SPATIAL: "S", _REDUCTION: "R"}
    return "".join(letters.get(int(v.iter_type), "O") for v in sch.get(block).iter_vars)


def is_reduction(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block accumulates."""
    return "R" in axis_kinds(sch, block)


def is_opaque(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block does not say what it writes: loops that TVM wrote by hand."""
    return not sch.get(block).writes


def extent(sch: s_tir.Schedule, loop: Any) -> int:
    """Iterations of a loop."""
    return int(sch.get(loop).extent)


def axis_extents(sch: s_tir.Schedule, block: Any) -> list[int]:
    """Extents of the block's axes."""
    return [int(v.dom.extent) for v in sch.get(block).iter_vars]


def index_type(sch: s_tir.Schedule, block: Any) -> str:
    """Data type of the block's axes."""
    return str(sch.get(block).iter_vars[0].var.ty.dtype)


def read_dtypes(sch: s_tir.Schedule, block: Any) -> list[str]:
    """Data types of what the block reads, in the order of its operands."""
    return [str(region.source.ty.dtype) for region in sch.get(block).reads]


def written_bytes(sch: s_tir.Schedule, block: Any) -> int:
    """Size in bytes of the buffer that the block writes."""
    buffer = sch.get(block).writes[0].source
    return prod(int(e) for e in buffer.ty.shape) * element_bits(buffer) // 8


def leading_size(sch: s_tir.Schedule, block: Any, axes: int) -> int:
    """Product of the extents of the block's first axes."""
    return prod(axis_extents(sch, block)[:axes])


def element_bits(buffer: Any) -> int:
    """Bits of one element; a bool takes a byte."""
    dtype = str(buffer.ty.dtype)
    return 8 if dtype == "bool" else int("".join(c for c in dtype if c.isdigit()) or "32")


def output_bits(sch: s_tir.Schedule, block: Any) -> int:
    """Bits of one element of what the block writes."""
    return element_bits(sch.get(block).writes[0].source)


def calls_functions(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block computes something dear: exp, erf, pow, sqrt, division by a variable."""
    found = []

    def look(node: Any) -> None:
        operator = getattr(node.op, "name", "")
        if operator.startswith("tirx.") and operator not in _CHEAP_OPS:
            found.append(operator)

    structural.structural_walk(sch.get(block).body, (tvm.ir.Call, look))
    return bool(found)


def calls_polynomials(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block calls what is computed in vectors by a long chain of operations."""
    return _calls(sch, block, _POLYNOMIALS)


def calls_exponentials(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether one of these needs exp: nearly all of its operations wait for the one before."""
    return _calls(sch, block, _EXPONENTIALS)


def _calls(sch: s_tir.Schedule, block: Any, names: set[str]) -> bool:
    found: list[Any] = []
    structural.structural_walk(sch.get(block).body, (tvm.ir.Call, found.append))
    return any(getattr(call.op, "name", "") in names for call in found)


def is_padding(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block chooses between an element and a constant by its position."""
    value = getattr(sch.get(block).body, "value", None)
    operator = getattr(getattr(value, "op", None), "name", "")
    return operator.endswith(".if_then_else") and not is_reduction(sch, block)


def loads(statement: Any) -> list[Any]:
    """All buffer loads below a statement."""
    found: list[Any] = []
    structural.structural_walk(statement, (tvm.ir.TensorLoad, found.append))
    return found


def uses(expression: Any, variable: Any) -> bool:
    """Whether an expression or a statement mentions a variable."""
    found = []

    def look(node: Any) -> None:
        if node.same_as(variable):
            found.append(node)

    structural.structural_walk(expression, (tvm.ir.Var, look))
    return bool(found)


def reduces_contiguous_axis(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the largest operand is read along a reduction axis: its last index is one."""
    statement = sch.get(block)
    reduction = [v.var for v in statement.iter_vars if int(v.iter_type) == _REDUCTION]
    spatial = [
        v.var for v in statement.iter_vars if int(v.iter_type) == _SPATIAL and int(v.dom.extent) > 1
    ]
    own = statement.writes[0].source
    operands = [load for load in loads(statement.body) if not load.source.same_as(own)]
    if not operands:
        return False
    largest = max(operands, key=lambda load: prod(int(e) for e in load.source.ty.shape))
    # Trailing axes of extent 1 do not move the address.
    for index, size in zip(
        reversed(largest.indices), reversed(largest.source.ty.shape), strict=True
    ):
        if int(size) == 1:
            continue
        along_reduction = any(uses(index, variable) for variable in reduction)
        return along_reduction and not any(uses(index, variable) for variable in spatial)
    return False


def blocks_below(sch: s_tir.Schedule, loop: Any) -> list[Any]:
    """The blocks inside a loop, in program order."""
    return list(sch.get_child_blocks(loop))


def has_vector_loop(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether one of the loops around the block is vectorized already."""
    return any(
        int(sch.get(loop).kind) == int(tirx.ForKind.VECTORIZED) for loop in sch.get_loops(block)
    )
