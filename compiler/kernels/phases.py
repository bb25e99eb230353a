"""Cut a lowered kernel into phases: raw-pointer functions over a range of the outer loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import PrimType
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.program import ELEMENT_BYTES
from schedules import match

# Buffers up to this size stay on the stack frame of their phase.
STACK_BUFFER_BYTES = 512
# Offsets of worker scratch blocks: a cache line, so that vectors do not straddle lines.
SCRATCH_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseFunction:
    """One phase as a PrimFunc with pointer parameters, then ``begin`` and ``end``."""

    func: PrimFunc
    extent: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasedKernel:
    """A kernel cut into phases, and the scratch that its functions expect as parameters."""

    phases: tuple[PhaseFunction, ...]
    scratch_bytes: tuple[int, ...]
    worker_scratch_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _WorkerBuffer:
    """A buffer allocated inside a parallel loop, now a slice of the worker's scratch."""

    buffer: Any
    offset: int


def _buffer_bytes(buffer: Any) -> int:
    elements = prod(int(extent) for extent in buffer.ty.shape)
    dtype = str(buffer.ty.dtype)
    base, _, lanes = dtype.partition("x")
    return elements * ELEMENT_BYTES[base] * int(lanes or 1)


def _statements(body: Any) -> list[Any]:
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _is_parallel(statement: Any) -> bool:
    return isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL


def _is_pure_binding(statement: Any) -> bool:
    """Whether it names a value that is the same at every place: one without loads."""
    if not isinstance(statement, tirx.Bind):
        return False
    loads: list[Any] = []
    structural.structural_walk(statement.value, (tvm.ir.TensorLoad, loads.append))
    return not loads


def _is_declaration(statement: Any) -> bool:
    """Whether a phase repeats it at its head instead of having it in its place."""
    return isinstance(statement, tirx.AllocBuffer | tirx.DeclBuffer) or _is_pure_binding(statement)


def _groups(statements: list[Any]) -> list[list[Any]]:
    """Parallel loops stand alone; serial statements between them form one group."""
    groups: list[list[Any]] = []
    for statement in statements:
        if _is_parallel(statement) or not groups or _is_parallel(groups[-1][0]):
            groups.append([statement])
        else:
            groups[-1].append(statement)
    return groups


def _uses(statements: list[Any], variable: Any) -> bool:
    return any(match.uses(statement, variable) for statement in statements)


def _aliases(declarations: list[Any], root: Any) -> list[Any]:
    """The buffer and every declared view of it."""
    names = [root]
    for declaration in declarations:
        if any(_uses([tirx.Evaluate(declaration.data)], name) for name in names):
            names.append(declaration.buffer)
    return names


def _take_large_allocations(body: Any) -> tuple[Any, list[Any]]:
    """Remove allocations over the stack limit from `body`; return it and their buffers."""
    found: list[Any] = []

    def visit(statement: Any, mutator: Any) -> Any:
        del mutator
        if not _is_large(statement.buffer):
            return _on_stack(statement.buffer)
        found.append(statement.buffer)
        return tirx.Evaluate(tirx.const(0, "int32"))

    visitor: Callable[[Any, Any], Any] = visit
    return structural.structural_mutate(body, [(tirx.AllocBuffer, visitor)]), found


def _on_stack(buffer: Any) -> Any:
    """An allocation that stays one: without the mark TVM asks its runtime for a workspace."""
    return tirx.AllocBuffer(buffer, annotations={"disable_lower_builtin": tirx.const(1, "int32")})


def cut_into_phases(func: PrimFunc) -> PhasedKernel:
    """Return the phases of a function made by `lower_to_loops`.

    Outer parallel loops become ranges. Scratch that several phases share, or that is too large for
    the stack, becomes parameters.
    """
    statements = _statements(func.body)
    allocations = [s.buffer for s in statements if isinstance(s, tirx.AllocBuffer)]
    declarations = [s for s in statements if isinstance(s, tirx.DeclBuffer)]
    bindings = [s for s in statements if _is_pure_binding(s)]
    groups = _groups([s for s in statements if not _is_declaration(s)])
    shared = [
        buffer
        for buffer in allocations
        if _is_shared(buffer, declarations, groups) or _is_large(buffer)
    ]
    private = [buffer for buffer in allocations if not any(buffer.same_as(b) for b in shared)]
    bodies, worker_buffers, worker_bytes = _plan_worker_scratch(groups)
    parameters = [*func.params, *shared]
    worker = tirx.Var("worker_scratch", tvm.ir.PointerType(PrimType("void")))
    phases = []
    for group, buffers in zip(bodies, worker_buffers, strict=True):
        head = [
            *(_on_stack(b) for b in private if _used_here(b, declarations, group)),
            # A view of another phase's private buffer would name what is not here.
            *(d for d in declarations if _used_here(d.buffer, declarations, group)),
            *bindings,
        ]
        scratch = worker if worker_bytes else None
        phases.append(_phase(func, parameters, head, group, scratch, buffers))
    return PhasedKernel(
        phases=tuple(phases),
        scratch_bytes=tuple(_buffer_bytes(buffer) for buffer in shared),
        worker_scratch_bytes=worker_bytes,
    )


def _is_large(buffer: Any) -> bool:
    return buffer.ty.storage_scope != "local" and _buffer_bytes(buffer) > STACK_BUFFER_BYTES


def _used_here(buffer: Any, declarations: list[Any], group: list[Any]) -> bool:
    return any(_uses(group, name) for name in _aliases(declarations, buffer))


def _is_shared(buffer: Any, declarations: list[Any], groups: list[list[Any]]) -> bool:
    return sum(_used_here(buffer, declarations, group) for group in groups) > 1


def _plan_worker_scratch(
    groups: list[list[Any]],
) -> tuple[list[list[Any]], list[list[_WorkerBuffer]], int]:
    """Move large allocations inside each group to worker scratch; phases reuse the same bytes."""
    bodies, buffers, most = [], [], 0
    for group in groups:
        body, here, offset = [], [], 0
        for statement in group:
            rest, found = _take_large_allocations(statement)
            body.append(rest)
            for buffer in found:
                here.append(_WorkerBuffer(buffer=buffer, offset=offset))
                size = _buffer_bytes(buffer)
                offset += -(-size // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT
        bodies.append(body)
        buffers.append(here)
        most = max(most, offset)
    return bodies, buffers, most


def _phase(
    func: PrimFunc,
    parameters: list[Any],
    head: list[Any],
    group: list[Any],
    worker: Any | None,
    worker_buffers: list[_WorkerBuffer],
) -> PhaseFunction:
    """One function: pointers in, views declared, the group's loop cut down to a range."""
    begin, end = tirx.Var("begin", "int32"), tirx.Var("end", "int32")
    pointers, views = [], []
    for parameter in parameters:
        pointer = tirx.Var(parameter.name, tirx.buffer_data_pointer_type(parameter))
        pointers.append(pointer)
        views.append(tirx.DeclBuffer(parameter, data=pointer))
    if worker is not None:
        pointers.append(worker)
        views += [_worker_view(worker, placed) for placed in worker_buffers]
    extent, body = 1, group
    if _is_parallel(group[0]):
        extent = int(group[0].extent)
        body = [_over_range(group[0], begin, end)]
    params = [*pointers, begin, end]
    phase = PrimFunc(params, tirx.SeqStmt([*views, *head, *body]), attrs=func.attrs)
    return PhaseFunction(func=phase, extent=extent)


def _worker_view(worker: Any, placed: _WorkerBuffer) -> Any:
    pointer_type = tirx.buffer_data_pointer_type(placed.buffer)
    offset = tirx.const(placed.offset, "int32")
    data = tvm.ir.Call("tirx.handle_add_byte_offset", [worker, offset], ret_ty=pointer_type)
    return tirx.DeclBuffer(placed.buffer, data=data)


def _over_range(loop: Any, begin: Any, end: Any) -> Any:
    """``for i in parallel(extent)`` as ``for i in range(begin, end)``."""
    dtype = str(loop.loop_var.ty.dtype)  # some operators of TVM index with 64 bits
    if dtype != "int32":
        begin, end = tirx.Cast(dtype, begin), tirx.Cast(dtype, end)
    return tirx.For(loop.loop_var, begin, end - begin, tirx.ForKind.SERIAL, loop.body)
