"""The entry C file of a model: who calls which phase with which pointers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from compiler.artifact.names import member_names, symbol_prefix
from compiler.artifact.render import render
from compiler.artifact.weights import WeightsBlob
from compiler.memory_plan import MemoryPlan, Placement, TensorPlace
from compiler.program import (
    ELEMENT_BYTES,
    CompiledKernel,
    KernelCall,
    Phase,
    Port,
    Program,
    Value,
    ValueKind,
)

ABI_VERSION = 1  # TUNESMITH_ABI_VERSION of runtime/tunesmith.h

C_TYPES = {
    "bool": "uint8_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "float16": "uint16_t",
    "bfloat16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float64": "double",
}

# A rough guess of a call's time on one thread: 20 multiply-accumulates (half of what an AVX2 core
# of 2.5 GHz does: 2 units x 8 lanes x 2.5) and 10 bytes in a nanosecond.
_MACS_PER_NS = 20
_BYTES_PER_NS = 10
# Two fork-joins; below this a second thread gains less than it costs.
_LEAST_PARALLEL_NS = 4_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Linkable:
    """A program with all that its entry point needs to know."""

    model_name: str
    target_name: str
    fingerprint: str
    program: Program
    kernels: Mapping[str, CompiledKernel]
    plan: MemoryPlan
    weights: WeightsBlob
    sessions: bool = True  # False: no operating system, so neither malloc nor threads

    @property
    def prefix(self) -> str:
        return symbol_prefix(self.model_name)

    def symbol(self, phase: Phase) -> str:
        """Return the linker's name of a phase."""
        return prefixed_symbol(self.prefix, phase.symbol)


def prefixed_symbol(prefix: str, symbol: str) -> str:
    """Return `symbol` with the model's prefix, which most have already."""
    return symbol if symbol.startswith(f"{prefix}_") else f"{prefix}__{symbol}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An input or output as C sees it."""

    name: str
    member: str
    dtype: str
    c_type: str
    element_bytes: int
    size_bytes: int
    element_count: int
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int
    macro: str  # part of the names of its macros
    place: TensorPlace | None = None


def input_tensors(model: Linkable) -> tuple[Tensor, ...]:
    """Return the C view of the inputs."""
    places = _tensor_places(model.plan, model.plan.inputs)
    return tensors(model.program, model.program.inputs, fallback="input", places=places)


def output_tensors(model: Linkable) -> tuple[Tensor, ...]:
    """Return the C view of the outputs."""
    places = _tensor_places(model.plan, model.plan.outputs)
    return tensors(model.program, model.program.outputs, fallback="output", places=places)


def _tensor_places(plan: MemoryPlan, placed: Mapping[int, Placement]) -> dict[int, TensorPlace]:
    return {
        storage: TensorPlace(region=_region_index(plan, block), offset=block.offset)
        for storage, block in placed.items()
    }


def tensors(
    program: Program,
    ports: tuple[Port, ...],
    *,
    fallback: str,
    places: Mapping[int, TensorPlace] = MappingProxyType({}),
) -> tuple[Tensor, ...]:
    """Return the C view of `ports`.

    Args:
        fallback: a member whose ONNX name has no letters.
        places: of values in the memory of a run, by id.
    """
    members = member_names((port.name for port in ports), fallback=fallback)
    macros = member_names((member.upper() for member in members), fallback=fallback)
    made = []
    for port, member, macro in zip(ports, members, macros, strict=True):
        value = program.values[port.value]
        tensor = _tensor(value, port, member, macro)
        made.append(replace(tensor, place=places.get(value.storage)))
    return tuple(made)


def _tensor(value: Value, port: Port, member: str, macro: str) -> Tensor:
    quantization = port.quantization
    return Tensor(
        name=port.name,
        member=member,
        dtype=value.dtype,
        c_type=C_TYPES[value.dtype],
        element_bytes=ELEMENT_BYTES[value.dtype],
        size_bytes=value.size_bytes,
        element_count=value.element_count,
        shape=value.shape,
        macro=macro,
        scale=quantization.scale if quantization else None,
        zero_point=quantization.zero_point if quantization else 0,
    )


def entry_source(model: Linkable) -> str:
    """Return the C file that defines the interface of `model`."""
    used = sorted({call.kernel for call in model.program.calls})
    calls = [_call(model, i, call) for i, call in enumerate(model.program.calls)]
    return render(
        "entry.c.j2",
        **interface_values(model),
        kernels=[_declaration(model, model.kernels[name]) for name in used],
        calls=calls,
        first_steps=_first_steps(calls),
        copies=[_copy(model, copy.source, copy.destination) for copy in model.program.copies],
        weight_bytes=len(model.weights.data),
        worker_scratch_bytes=model.plan.worker_scratch_bytes,
        model_name=model.model_name,
        target_name=model.target_name,
        fingerprint=model.fingerprint,
    )


def header_source(model: Linkable) -> str:
    """Return the header of `model`."""
    return render("model.h.j2", **interface_values(model), model_name=model.model_name)


def example_source(model: Linkable) -> str:
    """Return a program that runs `model` on made-up inputs and prints its outputs."""
    if model.sessions:
        return render("main.c.j2", **interface_values(model))
    in_arena = model.program.io_memory == "arena"
    return render("main_arena.c.j2" if in_arena else "main_bare.c.j2", **interface_values(model))


def interface_values(model: Linkable) -> dict[str, object]:
    """Return what templates say of a model: names, inputs, outputs and regions of memory."""
    return {
        "abi_version": ABI_VERSION,
        "prefix": model.prefix,
        "macro": model.prefix.upper(),
        "inputs": input_tensors(model),
        "outputs": output_tensors(model),
        "io_in_arena": model.program.io_memory == "arena",
        "regions": model.plan.regions,
        "sessions": model.sessions,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Declaration:
    symbols: tuple[str, ...]
    prototypes: tuple[str, ...]  # of C kernels, whose pointers have types; else empty
    pointer_count: int


def _declaration(model: Linkable, kernel: CompiledKernel) -> _Declaration:
    call = next(call for call in model.program.calls if call.kernel == kernel.name)
    pointers = len(call.inputs) + len(call.outputs) + len(kernel.memory.scratch_bytes)
    return _Declaration(
        symbols=tuple(model.symbol(phase) for phase in kernel.phases),
        prototypes=kernel.prototypes,
        pointer_count=pointers + (kernel.memory.worker_scratch_bytes > 0),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    function: str
    symbol: str
    extent: int
    parallel: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    operator: str
    pointers: tuple[str, ...]  # C expressions
    uses_worker: bool
    steps: tuple[_Step, ...]


def _call(model: Linkable, index: int, call: KernelCall) -> _Call:
    kernel = model.kernels[call.kernel]
    plan = model.plan
    pointers = [_pointer(model, value) for value in (*call.inputs, *call.outputs)]
    if kernel.memory.scratch_bytes:
        pointers += [_placed(plan, block) for block in plan.scratch[index]]
    uses_worker = kernel.memory.worker_scratch_bytes > 0
    if uses_worker:
        first = _placed(plan, plan.worker_scratch[index])
        pointers.append(f"ts_worker_scratch(frame, {first}, worker)")
    touched = _touched_bytes(model.program, call)
    parallel = is_worth_threads(call.macs, touched, kernel.phases)
    steps = tuple(
        _Step(
            function=f"call_{index}_phase_{number}",
            symbol=model.symbol(phase),
            extent=phase.extent,
            parallel=parallel and phase.extent > 1,
        )
        for number, phase in enumerate(kernel.phases)
    )
    return _Call(
        operator=call.operator,
        pointers=tuple(pointers),
        uses_worker=uses_worker,
        steps=steps,
    )


def _first_steps(calls: list[_Call]) -> list[int]:
    """Return where each call's steps begin, and the number of all steps."""
    starts = [0]
    for call in calls:
        starts.append(starts[-1] + len(call.steps))
    return starts


def is_worth_threads(macs: int, touched_bytes: int, phases: Sequence[Phase]) -> bool:
    """Whether a session hands a call's phases to its threads.

    Args:
        macs: multiply-accumulates of the call.
        touched_bytes: of its inputs and outputs.
    """
    guess_ns = macs / _MACS_PER_NS + touched_bytes / _BYTES_PER_NS
    parallel = max(1, sum(phase.extent > 1 for phase in phases))
    return guess_ns / parallel >= _LEAST_PARALLEL_NS


def _touched_bytes(program: Program, call: KernelCall) -> int:
    return sum(program.values[value].size_bytes for value in (*call.inputs, *call.outputs))


def _pointer(model: Linkable, value_id: int) -> str:
    """Return the C expression for where the bytes of a value are, as a `void *`."""
    program = model.program
    storage, offset = program.values[value_id].storage, program.values[value_id].offset_bytes
    kind = program.values[storage].kind
    if kind is ValueKind.BUFFER:
        return _placed(model.plan, model.plan.buffers[storage], offset)
    if kind is ValueKind.CONSTANT:
        return f"(void *)(ts_weights + {model.weights.offsets[storage] + offset})"
    if kind is ValueKind.INPUT:
        given = f"frame->inputs[{_port_index(program, program.inputs, storage)}]"
        return f"(void *){given}" if not offset else f"(unsigned char *){given} + {offset}"
    made = f"frame->outputs[{_port_index(program, program.outputs, storage)}]"
    return made if not offset else f"(unsigned char *){made} + {offset}"


def _port_index(program: Program, ports: tuple[Port, ...], storage: int) -> int:
    return next(i for i, p in enumerate(ports) if program.values[p.value].storage == storage)


def _placed(plan: MemoryPlan, block: Placement, offset_bytes: int = 0) -> str:
    index = _region_index(plan, block)
    return f"(unsigned char *)frame->regions[{index}] + {block.offset + offset_bytes}"


def _region_index(plan: MemoryPlan, block: Placement) -> int:
    return next(i for i, region in enumerate(plan.regions) if region.name == block.region)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copy:
    source: str
    destination: str
    size_bytes: int


def _copy(model: Linkable, source: int, destination: int) -> _Copy:
    return _Copy(
        source=_pointer(model, source),
        destination=_pointer(model, destination),
        size_bytes=model.program.values[destination].size_bytes,
    )
