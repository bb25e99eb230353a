"""``tunesmith inspect``: what is in an ONNX file, and whether it can be compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.commands.model_options import shape_option, value_option
from compiler.commands.output import json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from compiler.onnx_import.model import Model, TensorInfo
    from compiler.target_spec import TargetSpec


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="Compare the estimates with this target's limits.")
@shape_option
@value_option
@json_option
def command(
    model: Path,
    target: str | None,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float | int | bool],
    as_json: bool,
) -> None:
    """Show inputs, outputs, operators and sizes of MODEL, and what cannot be compiled.

    Counts are those of the graph that is compiled: shapes fixed, constants folded.
    """
    from compiler.onnx_import.load import load_model
    from compiler.target_spec import load_target

    spec = load_target(target) if target else None
    loaded = load_model(model, shapes=shapes, values=values)
    budgets = _budgets(loaded, spec) if spec else []
    if as_json:
        print_json(_document(loaded, spec, budgets))
        return
    _print_facts(loaded)
    _print_ports(loaded)
    _print_operators(loaded)
    _print_unsupported(loaded)
    if spec:
        _print_budgets(spec, budgets)


def _document(
    model: Model, spec: TargetSpec | None, budgets: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the machine form; sizes in bytes, unknown dimensions -1."""
    inventory = asdict(model.inventory)
    document: dict[str, Any] = {
        "name": model.name,
        "digest": model.digest,
        "opset": model.opset,
        "inputs": [asdict(tensor) for tensor in model.inputs],
        "outputs": [asdict(tensor) for tensor in model.outputs],
        "can_be_compiled": not model.inventory.unsupported,
        **inventory,
    }
    if spec:
        document["target"] = {"name": spec.name, "budgets": list(budgets)}
    return document


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


def _budgets(model: Model, spec: TargetSpec) -> list[dict[str, Any]]:
    """Return need and limit, in bytes, of each kind of memory that the target limits."""
    needs = {
        "flash_bytes": ("weights", model.inventory.weight_bytes),
        "ram_bytes": ("arena", model.inventory.arena_bytes_estimate),
    }
    budgets = []
    for key, (what, need) in needs.items():
        limit = getattr(spec.limits, key)
        if limit is not None:
            budgets.append(
                {"limit": key, "what": what, "need_bytes": need, "limit_bytes": limit}
                | {"fits": need <= limit}
            )
    return budgets


def _print_budgets(spec: TargetSpec, budgets: Sequence[dict[str, Any]]) -> None:
    click.echo()
    if not budgets:
        click.echo(f"target {spec.name} sets no memory limits")
        return
    rows = [
        (
            *(b["limit"], b["what"], f"{b['need_bytes']:,}", f"{b['limit_bytes']:,}"),
            "yes" if b["fits"] else "no",
        )
        for b in budgets
    ]
    click.echo(f"target {spec.name}, estimates in bytes:")
    columns = ("limit", "for", "needs", "has", "fits")
    print_table(columns, rows, right=columns[2:4])
