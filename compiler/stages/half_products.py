"""Products of convolutions and matrices in halves (``--precision fp16`` on Arm).

What such a product reads is stored as float16 by the kernel before it, padded or packed as float16,
and multiplied by weights in float16; sums and all else that kernels compute are float32. The stage
works on fused kernels, so that a value is rounded where it is stored and nowhere in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, s_tir, tirx
from tvm.ir import GenericConst, GlobalVar, IRModule
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.stages.provenance import bindings, is_call_to
from schedules import match, roles

LARGEST_HALF = 65504.0
_PRODUCTS = (roles.CONV2D, roles.BLOCKED_DEPTHWISE_CONV2D, roles.MATMUL)
_COPIES = (roles.PAD, roles.PACK)


@dataclass(frozen=True, slots=True)
class _Product:
    """The sum of products of a kernel: which buffers hold its factors.

    A copy is padded rows or packed panels; `read` is what it is made of, or the factor itself.
    """

    copies: tuple[Any, ...]
    read: tuple[Any, ...]


@dataclass(slots=True)
class _Calls:
    """Calls of `main` by function, makers and readers of variables; reshapes are seen through."""

    call_of: dict[str, Any]
    maker_of: dict[Any, str]  # of a variable that is a call's only result
    readers_of: dict[Any, list[tuple[str, int]]]  # by the variable that owns the bytes
    owner_of: dict[Any, Any]
    fixed: set[Any]  # owners that stay float32: results of the model, parts of others


def half_products(mod: IRModule) -> IRModule:
    """Return the module in ``call_tir`` form with halves as the factors of its products."""
    calls = _calls(mod)
    products = {name: _product(mod[name]) for name in calls.call_of}
    halves = _halves(mod, calls, products)
    functions: dict[str, PrimFunc] = {}
    narrowed: dict[str, set[int]] = {}
    for name, call in calls.call_of.items():
        func = mod[name]
        at = _positions(func, call, calls, halves, products[name])
        if at is None:
            continue
        parameters, constants, copies = at
        buffers = [func.params[i] for i in sorted(parameters | constants)] + list(copies)
        if buffers:
            functions[name] = _with_halves(func, buffers)
            narrowed[name] = constants
    return _Rewriter(mod, functions, narrowed, calls, halves).module()


def _calls(mod: IRModule) -> _Calls:
    found = _Calls({}, {}, {}, {}, set())
    main = mod["main"]
    several: set[str] = set()
    for binding in bindings(main):
        value, var = binding.value, binding.var
        if is_call_to(value, "relax.call_tir"):
            name = value.args[0].name_hint
            several |= {name} & found.call_of.keys()
            found.call_of[name] = value
            for position, operand in enumerate(value.args[1].fields):
                owner = found.owner_of.get(operand, operand)
                found.readers_of.setdefault(owner, []).append((name, position))
            found.maker_of[var] = name
            found.owner_of[var] = var
        elif is_call_to(value, "relax.reshape") or isinstance(value, relax.Var):
            source = value if isinstance(value, relax.Var) else value.args[0]
            found.owner_of[var] = found.owner_of.get(source, source)
        else:  # parts of other values, results of several
            for operand in _operands(value):
                found.fixed.add(found.owner_of.get(operand, operand))
    result = main.body.body
    for field in result.fields if isinstance(result, relax.Tuple) else [result]:
        found.fixed.add(found.owner_of.get(field, field))
    for name in several:
        del found.call_of[name]
    return found


def _operands(value: Any) -> list[Any]:
    """What a binding that is no kernel call reads."""
    if isinstance(value, relax.Tuple):
        return list(value.fields)
    return list(getattr(value, "args", [])) or [getattr(value, "tuple_value", value)]


def _product(func: PrimFunc) -> _Product | None:
    """The one product of a kernel, in the form that our operators give it."""
    sums = [block for block in _blocks(func) if _role(block) in _PRODUCTS]
    if len(sums) != 1 or not isinstance(sums[0].body, tirx.BufferStore):
        return None
    value = sums[0].body.value
    if not isinstance(value, tirx.Add) or not isinstance(value.b, tirx.Mul):
        return None
    factors = [value.b.a, value.b.b]
    if not all(isinstance(load, tvm.ir.TensorLoad) for load in factors):
        return None
    copies, read = [], []
    for load in factors:
        source = load.source
        copy = [b for b in _blocks(func) if _role(b) in _COPIES and _writes(b, source)]
        if copy:
            copies.append(source)
            inner = match.loads(copy[0].body)
            source = inner[0].source if inner else source
        read.append(source)
    return _Product(tuple(copies), tuple(read))


def _blocks(func: PrimFunc) -> list[Any]:
    found: list[Any] = []
    structural.structural_walk(func.body, (s_tir.SBlock, found.append))
    return found


def _role(block: Any) -> str:
    return str(block.annotations.get(roles.ROLE, ""))


def _writes(block: Any, buffer: Any) -> bool:
    return any(region.source.same_as(buffer) for region in block.writes)


def _parameter(func: PrimFunc, buffer: Any) -> int | None:
    return next((i for i, p in enumerate(func.params) if p.same_as(buffer)), None)


def _halves(mod: IRModule, calls: _Calls, products: Mapping[str, _Product | None]) -> set[Any]:
    """Variables that are stored as halves: a product reads them, and their maker only stores."""
    wanted = set()
    for name, product in products.items():
        operands = list(calls.call_of[name].args[1].fields)
        for buffer in product.read if product else ():
            position = _parameter(mod[name], buffer)
            if position is not None and isinstance(operands[position], relax.Var):
                wanted.add(calls.owner_of.get(operands[position], operands[position]))
    return {
        owner
        for owner in wanted - calls.fixed
        if owner in calls.maker_of
        and calls.maker_of[owner] in calls.call_of
        and str(owner.ty.dtype) == "float32"
        and _only_stores(mod[calls.maker_of[owner]])
        and all(reader in calls.call_of for reader, _ in calls.readers_of.get(owner, []))
    }


def _only_stores(func: PrimFunc) -> bool:
    """Whether the kernel has one output that it writes by plain stores and never reads."""
    output = func.params[-1]
    loads = any(load.source.same_as(output) for load in match.loads(func.body))
    writers = [block for block in _blocks(func) if _writes(block, output)]
    inner = [block for block in writers if isinstance(block.body, tirx.BufferStore)]
    return not loads and len(inner) == 1 and len(writers) == 1


def _positions(
    func: PrimFunc,
    call: Any,
    calls: _Calls,
    halves: set[Any],
    product: _Product | None,
) -> tuple[set[int], set[int], tuple[Any, ...]] | None:
    """Parameters that are halves, constants that become halves, and copies that do."""
    operands = list(call.args[1].fields)
    stored = {i for i, operand in enumerate(operands) if calls.owner_of.get(operand) in halves}
    own = next(
        (var for var, name in calls.maker_of.items() if calls.call_of.get(name) is call), None
    )
    if own in halves:
        stored.add(len(func.params) - 1)
    constants: set[int] = set()
    copies: tuple[Any, ...] = ()
    if product is not None and _can_be_halves(func, operands, stored, product):
        copies = product.copies
        positions = (_parameter(func, buffer) for buffer in product.read)
        constants = {i for i in positions if i is not None and i < len(operands)} - stored
        constants = {i for i in constants if isinstance(operands[i], GenericConst)}
    return stored, constants, copies


def _can_be_halves(
    func: PrimFunc, operands: list[Any], stored: set[int], product: _Product
) -> bool:
    """Whether both factors can: halves as stored, constants in range, or copies, which round."""
    copied = len(product.copies)
    for buffer in product.read:
        position = _parameter(func, buffer)
        if position is None or position >= len(operands):
            return False
        operand = operands[position]
        if isinstance(operand, GenericConst):
            if float(np.abs(operand.value.numpy()).max(initial=0.0)) > LARGEST_HALF:
                return False
        elif position not in stored and not copied:
            return False
    return True


def _with_halves(func: PrimFunc, buffers: list[Any]) -> PrimFunc:
    """The function with float16 in the place of the buffers; what is computed stays float32."""
    halves = {hash(b): tirx.decl_buffer(b.shape, "float16", b.name) for b in buffers}

    def load(node: Any, mutator: Any) -> Any:
        half = halves.get(hash(node.source))
        if half is None:
            return mutator.default_mutate(node)
        indices = [structural.structural_mutate(i, visitors) for i in node.indices]
        return tirx.Cast("float32", tirx.BufferLoad(half, indices))

    def store(node: Any, mutator: Any) -> Any:
        half = halves.get(hash(node.buffer))
        if half is None:
            return mutator.default_mutate(node)
        value = structural.structural_mutate(node.value, visitors)
        indices = [structural.structural_mutate(i, visitors) for i in node.indices]
        return tirx.BufferStore(half, _narrowed(value), indices)

    def region(node: Any, mutator: Any) -> Any:
        inner = mutator.default_mutate(node)
        half = halves.get(hash(node.source))
        return inner if half is None else tirx.BufferRegion(half, inner.region)

    def variable(node: Any, mutator: Any) -> Any:
        del mutator
        return halves.get(hash(node), node)

    visitors = [
        (tvm.ir.TensorLoad, load),
        (tirx.BufferStore, store),
        (tvm.ir.TensorRegion, region),
        (tvm.ir.Var, variable),
    ]
    body = structural.structural_mutate(func.body, visitors)
    params = [halves.get(hash(parameter), parameter) for parameter in func.params]
    return PrimFunc(params, body, func.ret_type, attrs=func.attrs)


def _narrowed(value: Any) -> Any:
    """The number as a half; one that was a half before is not converted twice."""
    if isinstance(value, tirx.Cast) and str(value.value.ty.dtype) == "float16":
        return value.value
    if isinstance(value, tirx.FloatImm):
        return tirx.const(float(value.value), "float16")
    operator = str(getattr(getattr(value, "op", None), "name", ""))
    if operator.endswith("if_then_else"):
        condition, yes, no = value.args
        return tirx.if_then_else(condition, _narrowed(yes), _narrowed(no))
    return tirx.Cast("float16", value)


@relax.expr_functor.mutator
class _Rewriter(relax.PyExprMutator):  # type: ignore[misc]
    """Puts the changed functions, constants and types in place."""

    def __init__(
        self,
        mod: IRModule,
        changed: Mapping[str, PrimFunc],
        narrowed: Mapping[str, set[int]],
        calls: _Calls,
        halves: set[Any],
    ) -> None:
        super().__init__(mod)
        self._mod = mod
        self._narrowed = narrowed
        self._makers = {calls.maker_of[owner] for owner in halves}
        self._functions: dict[GlobalVar, Any] = {}
        self._callees: dict[str, GlobalVar] = {}
        for gvar, func in mod.functions_items():
            own = GlobalVar(gvar.name_hint)
            new = changed.get(gvar.name_hint, func)
            # A call_tir's callee must have the type of its function.
            relax.expr._update_type(own, gvar.ty if new is func else new.ty)
            self._callees[gvar.name_hint] = own
            self._functions[own] = new

    def module(self) -> IRModule:
        """Return the whole module."""
        self._functions[self._callees["main"]] = self.visit_expr(self._mod["main"])
        return IRModule(self._functions, attrs=self._mod.attrs)

    def visit_call_(self, call: relax.Call) -> Any:
        if is_call_to(call, "relax.reshape"):
            return relax.op.reshape(self.visit_expr(call.args[0]), call.args[1])
        if not is_call_to(call, "relax.call_tir"):
            return super().visit_call_(call)
        name = call.args[0].name_hint
        narrowed = self._narrowed.get(name, set())
        operands = [
            relax.const(operand.value.numpy().astype(np.float16))
            if position in narrowed
            else self.visit_expr(operand)
            for position, operand in enumerate(call.args[1].fields)
        ]
        arguments = [self._callees[name], relax.Tuple(operands), *call.args[2:]]
        types = list(call.ty_args)
        if name in self._makers:
            types = [relax.TensorType(types[0].shape, "float16")]
        return relax.Call(call.op, arguments, call.attrs, types)
