"""Scheduled PrimFunc -> device functions, and how the host launches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.elementary import expand_elementary
from compiler.kernels.gpu.one_thread import in_one_thread
from compiler.kernels.gpu.passes import lower_to_launches
from compiler.kernels.gpu.scratch import scratch_as_parameters
from compiler.program import Launch

_LAUNCH = "tirx.call_ffi_kernel"
_GRID = ("blockIdx.x", "blockIdx.y", "blockIdx.z")
_BLOCK = ("threadIdx.x", "threadIdx.y", "threadIdx.z")


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchedKernel:
    """A kernel's device functions by symbol, and its launches in order."""

    functions: dict[str, PrimFunc]
    launches: tuple[Launch, ...]
    scratch_bytes: tuple[int, ...]


def launched_kernel(func: PrimFunc, name: str, target: tvm.target.Target) -> LaunchedKernel:
    """Lower a scheduled kernel; its device functions are called `name`, ``name_p1``, ...

    A launch's arguments are positions among the kernel's inputs, outputs and scratch blocks.
    """
    whole, scratch_bytes = scratch_as_parameters(in_one_thread(func))
    mod = IRModule({GlobalVar(name): whole.with_attr("global_symbol", name)})
    lowered = lower_to_launches(mod, target)
    device: dict[str, PrimFunc] = {}
    hosts: list[PrimFunc] = []
    for gvar, function in lowered.functions_items():
        if "tirx.is_global_func" in function.attrs:
            device[str(gvar.name_hint)] = function
        else:
            hosts.append(function)
    (host,) = hosts
    if not device:
        raise ValueError("the schedule binds no loop to threads")
    symbols = _symbols(name, _launch_calls(host))
    return LaunchedKernel(
        functions={
            symbols[old]: expand_elementary(function).with_attr("global_symbol", symbols[old])
            for old, function in device.items()
        },
        launches=tuple(_launch(call, host, symbols) for call in _launch_calls(host)),
        scratch_bytes=scratch_bytes,
    )


def _launch_calls(host: PrimFunc) -> list[Any]:
    """The calls that start device functions, in the order of the program."""
    found = []

    def look(call: tvm.ir.Call) -> None:
        if getattr(call.op, "name", "") == _LAUNCH:
            found.append(call)

    structural.structural_walk(host.body, (tvm.ir.Call, look))
    return found


def _symbols(name: str, calls: list[Any]) -> dict[str, str]:
    """TVM's name of each device function -> ours."""
    order = dict.fromkeys(_text(call.args[0]) for call in calls)
    return {old: name if i == 0 else f"{name}_p{i}" for i, old in enumerate(order)}


def _text(value: Any) -> str:
    return str(value.value)


def _launch(call: Any, host: PrimFunc, symbols: dict[str, str]) -> Launch:
    tags = [str(tag) for tag in call.attrs.launch_params]
    operands = list(call.args[1:])
    arguments, extents = operands[: -len(tags)], operands[-len(tags) :]
    threads = {tag: int(extent) for tag, extent in zip(tags, extents, strict=True)}
    unknown = set(threads) - {*_GRID, *_BLOCK}
    if unknown:
        raise ValueError(f"launch parameters {sorted(unknown)} are not known")
    return Launch(
        symbol=symbols[_text(call.args[0])],
        grid=_three(threads, _GRID),
        block=_three(threads, _BLOCK),
        arguments=tuple(_position(argument, host) for argument in arguments),
    )


def _three(threads: dict[str, int], tags: tuple[str, str, str]) -> tuple[int, int, int]:
    x, y, z = (threads.get(tag, 1) for tag in tags)
    return (x, y, z)


def _position(argument: Any, host: PrimFunc) -> int:
    """Which parameter of the kernel an argument of a launch is.

    An argument is the data of a buffer that the host declares over a parameter's data.
    """
    variable = _only_variable(argument)
    declared: list[Any] = []
    structural.structural_walk(host.body, (tirx.DeclBuffer, declared.append))
    for declaration in declared:
        if declaration.buffer.same_as(variable) and declaration.data is not None:
            variable = _only_variable(declaration.data)
            break
    for position, parameter in enumerate(host.params):
        if parameter.same_as(variable):
            return position
    raise ValueError(f"launch argument {argument} is no parameter of the kernel")


def _only_variable(expression: Any) -> Any:
    found: list[Any] = []
    structural.structural_walk(expression, (tvm.ir.Var, found.append))
    return found[0]
