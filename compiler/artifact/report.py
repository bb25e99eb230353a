"""report.json: every value and every kernel call of a library, with what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from compiler.artifact.entry import Linkable
from compiler.memory_plan import Placement
from compiler.program import CompiledKernel, KernelCall, Port, Program, Value, ValueKind

REPORT_SCHEMA_VERSION = 1


def build_report(
    model: Linkable, *, relax_plan_bytes: int | None, library_bytes: int
) -> dict[str, Any]:
    """Return the report as plain data.

    Args:
        relax_plan_bytes: what Relax's own memory plan needs, for comparison; None if not known.
        library_bytes: size of the shared library.
    """
    program = model.program
    used = {call.kernel for call in program.calls}
    totals = {
        "weight_bytes": len(model.weights.data),
        "arena_bytes": model.plan.arena_bytes,
        "lower_bound_bytes": model.plan.lower_bound_bytes,
        "relax_plan_bytes": relax_plan_bytes,
        "worker_scratch_bytes": model.plan.worker_scratch_bytes,
        "macs": sum(call.macs for call in program.calls),
        "layout_changes": sum(model.kernels[call.kernel].layout_changes for call in program.calls),
        "code_bytes": sum(model.kernels[name].code_bytes for name in used),
        "library_bytes": library_bytes,
    }
    return {
        "schema_version": REPORT_SCHEMA_VERSION,
        "totals": totals,
        "inputs": [_port(port) for port in program.inputs],
        "outputs": [_port(port) for port in program.outputs],
        "values": [_value(model, value) for value in program.values],
        "kernels": [_call(model, index, call) for index, call in enumerate(program.calls)],
        "quantized_in_float": [asdict(one) for one in program.float_quantizers],
        "float_weights": [asdict(one) for one in program.float_weights],
        "copies": [
            {"source": copy.source, "destination": copy.destination} for copy in program.copies
        ],
        **({"choices": [asdict(one) for one in program.choices]} if program.choices else {}),
    }


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "value": port.value}


def _value(model: Linkable, value: Value) -> dict[str, Any]:
    """Return a value; `region` and `offset` say where a buffer is, `offset` where a constant is.

    Inputs and outputs have both if they are planned like buffers. `offset` counts from the start of
    the region or of the weights, `offset_bytes` from that of the storage.
    """
    entry: dict[str, Any] = {
        "id": value.id,
        "kind": value.kind.value,
        "dtype": value.dtype,
        "shape": list(value.shape),
        "storage": value.storage,
        "offset_bytes": value.offset_bytes,
        "onnx_name": value.onnx_name,
        "channel_block": value.channel_block,
    }
    plan = model.plan
    planned = plan.storages if model.program.io_memory == "arena" else plan.buffers
    if value.storage in planned:
        entry |= _place(planned[value.storage], value.offset_bytes)
    if value.kind is ValueKind.CONSTANT:
        entry["offset"] = model.weights.offsets[value.storage] + value.offset_bytes
    return entry


def _place(block: Placement, offset_bytes: int) -> dict[str, Any]:
    return {"region": block.region, "offset": block.offset + offset_bytes}


def _call(model: Linkable, index: int, call: KernelCall) -> dict[str, Any]:
    kernel = model.kernels[call.kernel]
    in_place = dict.fromkeys(value for i, value in model.plan.in_place if i == index)
    return {
        "index": index,
        "kernel": call.kernel,
        "operator": call.operator,
        "onnx_nodes": list(call.onnx_nodes),
        "macs": call.macs,
        "bytes": _bytes_touched(model.program, call),
        "scratch_bytes": list(kernel.memory.scratch_bytes),
        "worker_scratch_bytes": kernel.memory.worker_scratch_bytes,
        "code_bytes": kernel.code_bytes,
        "code_id": _code_id(kernel),
        "layout_changes": kernel.layout_changes,
        "schedule": _schedule(model.kernels, call.kernel),
        "inputs": list(call.inputs),
        "outputs": list(call.outputs),
        "phases": [{"symbol": model.symbol(p), "extent": p.extent} for p in kernel.phases],
        "in_place": list(in_place),
        **({"launches": _launches(kernel)} if kernel.launches else {}),
    }


def _code_id(kernel: CompiledKernel) -> str:
    """Return a name of a kernel's object: equal for equal code; "" without one."""
    return sha256(kernel.object_code).hexdigest()[:16] if kernel.object_code else ""


def _launches(kernel: CompiledKernel) -> list[dict[str, Any]]:
    """Return the starts of device functions and what ptxas, if it was there, gave each of them."""
    launches = [
        {"symbol": one.symbol, "grid": list(one.grid), "block": list(one.block)}
        for one in kernel.launches
    ]
    if not kernel.device_uses:
        return launches
    uses = (asdict(use) for use in kernel.device_uses)
    return [launch | use for launch, use in zip(launches, uses, strict=True)]


def _bytes_touched(program: Program, call: KernelCall) -> int:
    """Return the bytes of all tensors of a call, each place in a storage once."""
    touched = [program.values[value] for value in (*call.inputs, *call.outputs)]
    return sum({(v.storage, v.offset_bytes): v.size_bytes for v in touched}.values())


def _schedule(kernels: Mapping[str, Any], name: str) -> dict[str, str]:
    outcome = kernels[name].schedule
    return {"source": outcome.source, "name": outcome.name, "reason": outcome.reason}
