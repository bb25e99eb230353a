"""The entry C file of a GPU model: tables of launches and of where their arguments lie."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.artifact.entry import ABI_VERSION, Linkable, tensors
from compiler.artifact.render import render
from compiler.memory_plan import Placement
from compiler.program import KernelCall, Launch, Port, ValueKind
from compiler.target_tables import GpuSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class _Argument:
    place: str  # ts_place of runtime/cuda_session.h
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Launch:
    operator: str
    function: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    first_argument: int
    arguments: tuple[_Argument, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copy:
    source: _Argument
    destination: _Argument
    size_bytes: int


def gpu_entry_source(model: Linkable, gpu: GpuSpec) -> str:
    """Return the C file that defines the interface of `model`."""
    launches = _launches(model)
    major, minor = gpu.compute_capability
    copies = [
        _Copy(
            source=_value(model, copy.source),
            destination=_value(model, copy.destination),
            size_bytes=model.program.values[copy.destination].size_bytes,
        )
        for copy in model.program.copies
    ]
    return render(
        "gpu_entry.c.j2",
        **gpu_interface(model),
        functions=device_functions(model),
        launches=launches,
        copies=copies,
        call_count=len(model.program.calls),
        most_arguments=max((len(launch.arguments) for launch in launches), default=0),
        weight_bytes=len(model.weights.data),
        arena_bytes=model.plan.arena_bytes,
        capability=10 * major + minor,
        needed=f"an NVIDIA GPU of compute capability {major}.{minor} or newer",
        target_name=model.target_name,
        fingerprint=model.fingerprint,
    )


def gpu_interface(model: Linkable) -> dict[str, object]:
    """Return what the header and the example need to know."""
    return {
        "abi_version": ABI_VERSION,
        "model_name": model.model_name,
        "prefix": model.prefix,
        "macro": model.prefix.upper(),
        "inputs": tensors(model.program, model.program.inputs, fallback="input"),
        "outputs": tensors(model.program, model.program.outputs, fallback="output"),
    }


def device_functions(model: Linkable) -> list[str]:
    """Return the names of all device functions that the program launches, sorted."""
    used = {call.kernel for call in model.program.calls}
    return sorted({launch.symbol for name in used for launch in model.kernels[name].launches})


def _launches(model: Linkable) -> list[_Launch]:
    number = {symbol: index for index, symbol in enumerate(device_functions(model))}
    launches: list[_Launch] = []
    first = 0
    for index, call in enumerate(model.program.calls):
        pointers = _pointers(model, index, call)
        for launch in model.kernels[call.kernel].launches:
            launches.append(_launch(call, launch, pointers, number[launch.symbol], first))
            first += len(launch.arguments)
    return launches


def _launch(
    call: KernelCall, launch: Launch, pointers: list[_Argument], function: int, first: int
) -> _Launch:
    return _Launch(
        operator=call.operator,
        function=function,
        grid=launch.grid,
        block=launch.block,
        first_argument=first,
        arguments=tuple(pointers[position] for position in launch.arguments),
    )


def _pointers(model: Linkable, index: int, call: KernelCall) -> list[_Argument]:
    """What the positions in `Launch.arguments` stand for: inputs, outputs, scratch."""
    pointers = [_value(model, value) for value in (*call.inputs, *call.outputs)]
    if model.kernels[call.kernel].memory.scratch_bytes:
        pointers += [_placed(block) for block in model.plan.scratch[index]]
    return pointers


def _value(model: Linkable, value_id: int) -> _Argument:
    program = model.program
    storage = program.values[value_id].storage
    kind = program.values[storage].kind
    if kind is ValueKind.BUFFER:
        return _placed(model.plan.buffers[storage])
    if kind is ValueKind.CONSTANT:
        return _Argument(place="TS_WEIGHTS", offset=model.weights.offsets[storage])
    ports, place = (
        (program.inputs, "TS_INPUT") if kind is ValueKind.INPUT else (program.outputs, "TS_OUTPUT")
    )
    return _Argument(place=place, offset=_port_index(model, ports, storage))


def _port_index(model: Linkable, ports: tuple[Port, ...], storage: int) -> int:
    values = model.program.values
    return next(i for i, port in enumerate(ports) if values[port.value].storage == storage)


def _placed(block: Placement) -> _Argument:
    return _Argument(place="TS_ARENA", offset=block.offset)
