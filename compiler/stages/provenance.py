"""Which ONNX values a kernel computes: kept through fusion in function names and module attributes.

Fusion drops variable names and shares PrimFuncs between calls. So before it every call gets a
PrimFunc of its own whose name ends in ``__N``; afterwards the numbers in a group say what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc

# Module attribute: call number -> name of the variable that the call was bound to.
CALL_VARIABLES = "tunesmith.call_variables"
# Module attribute: fused function -> call numbers inside, then those of its outputs.
GROUP_CALLS = "tunesmith.group_calls"
GROUP_OUTPUTS = "tunesmith.group_outputs"
# Module attribute: variable that a stage makes one call of -> variables that it stands for, too.
STANDS_FOR = "tunesmith.stands_for"
_NUMBER = re.compile(r"__(\d+)$")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Variables (named by the importer) that a kernel computes, and those of its outputs."""

    variables: tuple[str, ...]
    outputs: tuple[str, ...]


def bindings(func: relax.Function) -> Iterator[relax.Binding]:
    """All bindings of a function whose body is a sequence, in order."""
    for block in func.body.blocks:
        yield from block.bindings


def is_call_to(value: Any, operator: str) -> bool:
    """Whether `value` is a call of the Relax operator of that name."""
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == operator


@relax.expr_functor.mutator
class _Separator(relax.PyExprMutator):  # type: ignore[misc]
    """Gives each ``call_tir`` of `main` a PrimFunc of its own."""

    def __init__(self, mod: IRModule) -> None:
        super().__init__(mod)
        self.functions: dict[GlobalVar, PrimFunc] = {}
        self.variables: dict[str, str] = {}
        self._mod = mod

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        self._variable = binding.var.name
        super().visit_var_binding_(binding)

    def visit_call_(self, call: relax.Call) -> Any:
        if not is_call_to(call, "relax.call_tir"):
            return super().visit_call_(call)
        number = len(self.variables)
        shared = call.args[0]
        own = GlobalVar(f"{shared.name_hint}__{number}")
        relax.expr._update_type(own, shared.ty)  # a call_tir's callee must have a type
        self.functions[own] = self._mod[shared]
        self.variables[str(number)] = self._variable
        arguments = [own, *(self.visit_expr(argument) for argument in call.args[1:])]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)


def separate_calls(mod: IRModule) -> IRModule:
    """Return the module with one PrimFunc per call and `CALL_VARIABLES` set."""
    separator = _Separator(mod)
    main = separator.visit_expr(mod["main"])
    functions: dict[GlobalVar, Any] = {GlobalVar("main"): main, **separator.functions}
    out = IRModule(functions, attrs=mod.attrs)
    return out.with_attr(CALL_VARIABLES, tvm.runtime.convert(separator.variables))


def _number(name: str) -> str | None:
    match = _NUMBER.search(name)
    return match.group(1) if match else None


def record_groups(mod: IRModule) -> IRModule:
    """Return the module with `GROUP_CALLS` and `GROUP_OUTPUTS` set, between FuseOps and FuseTIR."""
    calls: dict[str, list[str]] = {}
    outputs: dict[str, list[str]] = {}
    for gvar, func in mod.functions_items():
        if isinstance(func, PrimFunc):
            number = _number(gvar.name_hint)
            if number is not None:
                calls[gvar.name_hint] = outputs[gvar.name_hint] = [number]
        elif gvar.name_hint != "main":
            inside, last = _group(func)
            calls[gvar.name_hint], outputs[gvar.name_hint] = inside, last
    return mod.with_attr(GROUP_CALLS, tvm.runtime.convert(calls)).with_attr(
        GROUP_OUTPUTS, tvm.runtime.convert(outputs)
    )


def _group(func: relax.Function) -> tuple[list[str], list[str]]:
    """Call numbers in a fused function, in order, and those that make its outputs ("" if none)."""
    made_by: dict[Any, str] = {}
    members: dict[Any, list[Any]] = {}
    inside: list[str] = []
    for binding in bindings(func):
        value = binding.value
        if is_call_to(value, "relax.call_tir"):
            number = _number(value.args[0].name_hint) or ""
            made_by[binding.var] = number
            inside.append(number)
        elif isinstance(value, relax.Var):
            made_by[binding.var] = made_by.get(value, "")
        elif isinstance(value, relax.Tuple):
            members[binding.var] = list(value.fields)
    result = func.body.body
    fields = members.get(result) or (
        list(result.fields) if isinstance(result, relax.Tuple) else [result]
    )
    return inside, [made_by.get(field, "") for field in fields]


def provenance_of(mod: IRModule) -> dict[str, Provenance]:
    """Return what each kernel of a module in ``call_tir`` form computes, by kernel name."""
    if mod.attrs is None or GROUP_CALLS not in mod.attrs:
        return {}
    variables = {str(k): str(v) for k, v in mod.attrs[CALL_VARIABLES].items()}
    variables[""] = ""
    group_outputs = mod.attrs[GROUP_OUTPUTS]
    more = mod.attrs.get(STANDS_FOR, {})
    inside = {
        number: (*(str(v) for v in more[name]), name) if name in more else (name,)
        for number, name in variables.items()
    }
    return {
        str(name): Provenance(
            variables=tuple(v for number in numbers for v in inside[str(number)]),
            outputs=tuple(variables[str(number)] for number in group_outputs[name]),
        )
        for name, numbers in mod.attrs[GROUP_CALLS].items()
    }
