"""``tunesmith inspect``: what is in an ONNX file, and whether it can be compiled."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.commands.io_memory_option import io_memory_option
from compiler.commands.limit_option import limit_option
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.output import (
    json_option,
    print_facts,
    print_json,
    print_table,
    progress_reporter,
)
from compiler.errors import UnsupportedError

if TYPE_CHECKING:
    from compiler.estimate import Amount, Estimate
    from compiler.limits import NamedSize
    from compiler.onnx_import.model import Model, TensorInfo
    from compiler.program import IoMemory
    from compiler.target_spec import TargetSpec


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="Estimate what a build for this target needs.")
@io_memory_option
@limit_option
@shape_option
@value_option
@json_option
def command(
    model: Path,
    target: str | None,
    io_memory: IoMemory,
    limits: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    as_json: bool,
) -> None:
    """Show inputs, outputs, operators and sizes of MODEL, and what cannot be compiled.

    Counts are those of the graph that is compiled: shapes fixed, constants folded. With a target,
    the graph is lowered and its memory planned as compile does it; each need is set beside its
    limit. What is only estimated says so: the true number lies within the error.
    """
    from compiler.onnx_import.load import load_model

    if limits and target is None:
        raise click.UsageError("--limit is one of a target: give --target too")
    if io_memory != "caller" and target is None:
        raise click.UsageError("--io-memory is one of a target: give --target too")
    spec = _spec(target, limits, io_memory) if target else None
    loaded = load_model(model, shapes=shapes, values=values)
    needs = _needs(loaded, spec, io_memory) if spec else None
    if as_json:
        print_json(_document(loaded, spec, needs))
        return
    _print_facts(loaded)
    _print_ports(loaded)
    _print_operators(loaded)
    _print_unsupported(loaded)
    if spec and needs:
        _print_needs(spec, needs)
    _print_float_quantizers(loaded, needs)


def _spec(target: str, limits: dict[str, int], io_memory: IoMemory) -> TargetSpec:
    from compiler.io_memory import require_io_memory
    from compiler.limits import with_limits
    from compiler.target_spec import load_target

    spec = with_limits(load_target(target), limits)
    require_io_memory(spec, io_memory)
    return spec


def _needs(model: Model, spec: TargetSpec, io_memory: IoMemory) -> Estimate | UnsupportedError:
    """Return the needs of a build, or why there can be none."""
    from compiler.estimate import estimate

    with progress_reporter() as report:
        try:
            return estimate(
                model, spec, io_memory=io_memory, jobs=os.cpu_count() or 1, report=report
            )
        except UnsupportedError as refusal:
            return refusal


def _document(
    model: Model, spec: TargetSpec | None, needs: Estimate | UnsupportedError | None
) -> dict[str, Any]:
    """Return the machine form; sizes in bytes, unknown dimensions -1."""
    from compiler.onnx_import.float_quantizers import certain_float_quantizers

    inventory = asdict(model.inventory)
    document: dict[str, Any] = {
        "name": model.name,
        "digest": model.digest,
        "opset": model.opset,
        "inputs": [asdict(tensor) for tensor in model.inputs],
        "outputs": [asdict(tensor) for tensor in model.outputs],
        "can_be_compiled": not model.inventory.unsupported,
        "quantized_in_float": [asdict(one) for one in certain_float_quantizers(model)],
        **inventory,
    }
    if spec and needs:
        document["target"] = _target_document(spec, needs)
    return document


def _target_document(spec: TargetSpec, needs: Estimate | UnsupportedError) -> dict[str, Any]:
    if isinstance(needs, UnsupportedError):
        return {"name": spec.name, "cannot_be_compiled": {"what": needs.what, "why": needs.why}}
    fields = asdict(needs)
    amounts = zip(fields["amounts"], needs.amounts, strict=True)
    fields["amounts"] = [amount | {"verdict": one.verdict.value} for amount, one in amounts]
    return {"name": fields.pop("target"), **fields}


def _print_facts(model: Model) -> None:
    inventory = model.inventory
    print_facts(
        [
            ("model", model.name),
            ("sha256", model.digest),
            ("opset", str(model.opset)),
            ("nodes", f"{sum(op.count for op in inventory.operators):,} after folding"),
            ("parameters", f"{inventory.parameter_count:,}"),
            ("weights", f"{inventory.weight_bytes:,} bytes"),
            ("MACs", f"{inventory.mac_count:,}"),
            ("arena", f"about {inventory.arena_bytes_estimate:,} bytes, before fusion"),
        ]
    )


def _print_ports(model: Model) -> None:
    click.echo()
    rows = [("input", *_port(tensor)) for tensor in model.inputs]
    rows += [("output", *_port(tensor)) for tensor in model.outputs]
    print_table(("", "name", "dtype", "shape", "quantization"), rows)


def _port(tensor: TensorInfo) -> tuple[str, str, str, str]:
    quantization = tensor.quantization
    shape = " x ".join("?" if size < 0 else str(size) for size in tensor.shape) or "scalar"
    real = f"{quantization.scale:g} * (q - {quantization.zero_point})" if quantization else ""
    return tensor.name, tensor.dtype, shape, real


def _print_operators(model: Model) -> None:
    """Print the histogram of operators with the share of the work that each has."""
    click.echo()
    macs: Counter[str] = Counter()
    for node in model.proto.graph.node:
        macs[node.op_type] += model.inventory.node_macs.get(node.name, 0)
    total = max(1, model.inventory.mac_count)
    rows = []
    for op in model.inventory.operators:
        name = f"{op.domain}.{op.op_type}" if op.domain else op.op_type
        work = macs[op.op_type]
        share = f"{100 * work / total:.1f} %" if work else ""
        rows.append((name, str(op.count), f"{work:,}" if work else "", share))
    columns = ("operator", "nodes", "MACs", "share")
    print_table(columns, rows, right=columns[1:])


def _print_unsupported(model: Model) -> None:
    click.echo()
    unsupported = model.inventory.unsupported
    if not unsupported:
        click.echo("every operator can be compiled")
        return
    click.echo(f"cannot be compiled: {len(unsupported)} of the nodes")
    rows = [(node.op_type, node.node, node.reason) for node in unsupported]
    print_table(("operator", "node", "why"), rows)


def _print_needs(spec: TargetSpec, needs: Estimate | UnsupportedError) -> None:
    click.echo()
    if isinstance(needs, UnsupportedError):
        click.echo(f"nothing can be estimated for {spec.name}: {needs.what} ({needs.why})")
        return
    click.echo(f"target {spec.name}, as compile would build it:")
    columns = ("limit", "for", "needs", "error", "has", "")
    print_table(columns, [_amount_row(amount) for amount in needs.amounts], right=columns[2:5])
    click.echo()
    code = "unknown" if needs.code_bytes is None else f"{needs.code_bytes:,} bytes"
    facts = [
        ("kernel calls", f"{needs.kernel_calls:,}"),
        ("weights", f"{needs.weight_bytes:,} bytes; largest: {_sizes(needs.largest_weights)}"),
        ("code", code),
        ("most memory in", str(needs.peak or "no call")),
        ("largest tensors", _sizes(needs.largest_tensors)),
    ]
    if needs.is_smaller_code:
        facts.append(("schedules", "smaller, slower code: the usual one is over a limit"))
    print_facts(facts)


def _print_float_quantizers(model: Model, needs: Estimate | UnsupportedError | None) -> None:
    """Print which quantized operators are computed in float, and why: for a target, all."""
    from compiler.onnx_import.float_quantizers import certain_float_quantizers

    found = certain_float_quantizers(model)
    where = "on every target"
    if needs is not None and not isinstance(needs, UnsupportedError):
        found, where = needs.float_quantizers, f"on {needs.target}"
    if found:
        click.echo()
        click.echo(f"quantized, but computed in float {where}: {len(found)}")
        print_table(("quantizer", "why"), [(one.node, one.reason) for one in found])


def _sizes(items: tuple[NamedSize, ...]) -> str:
    return ", ".join(map(str, items)) or "none"


def _amount_row(amount: Amount) -> tuple[str, ...]:
    need = "" if amount.need is None else f"{amount.need:,}"
    least = "at least " if amount.is_least else ""
    error = f"+- {amount.error:,}" if amount.error else ""
    most = "" if amount.most is None else f"{amount.most:,}"
    return (amount.limit, amount.what, f"{least}{need}", error, most, amount.verdict.value)
