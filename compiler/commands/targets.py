"""``tunesmith targets``: which machines can be compiled for."""

from __future__ import annotations

from typing import Any

import click

from compiler.commands.output import json_option, print_facts, print_json, print_table
from compiler.target_spec import (
    TargetSpec,
    available_targets,
    load_target,
    missing_cpu_features,
    required_cpu_features,
)


@click.group("targets", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the machines that can be compiled for, or show one."""
    if ctx.invoked_subcommand is not None:
        return
    specs = [load_target(name) for name in available_targets()]
    if as_json:
        print_json([{**spec.as_dict(), "runs_here": _runs_here(spec)} for spec in specs])
        return
    columns = ("target", "family", "vector", "L1d", "L2", "L3", "cores", "runs here", "what it is")
    print_table(columns, [_row(spec) for spec in specs], right=columns[2:7])


@command.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show every fact of one target: a name, or the path of a .toml file."""
    spec = load_target(name)
    if as_json:
        print_json({**spec.as_dict(), "runs_here": _runs_here(spec)})
        return
    facts = spec.as_dict()
    scalars = {key: value for key, value in facts.items() if not isinstance(value, dict | list)}
    print_facts([(key, _text(value)) for key, value in scalars.items()])
    for key, table in facts.items():
        if isinstance(table, dict):
            click.echo(f"\n[{key}]")
            print_facts([(name, _text(value)) for name, value in table.items()], indent=2)
    for region in spec.memory:
        click.echo(f"\n[memory.{region.name}]")
        pairs = (("kind", region.kind), ("start_address", f"{region.start_address:#x}"))
        sizes = (("size_bytes", region.size_bytes), ("align_bytes", region.align_bytes))
        print_facts([*pairs, *((key, _text(size)) for key, size in sizes)], indent=2)
    missing = missing_cpu_features(spec)
    click.echo(f"\nneeds      {' '.join(required_cpu_features(spec)) or 'the baseline only'}")
    click.echo(f"runs here  {'no, lacks ' + ' '.join(missing) if missing else _runs_here(spec)}")


def _row(spec: TargetSpec) -> tuple[str, ...]:
    cache = spec.cache
    sizes = (_kib(size) for size in (cache.l1d_bytes, cache.l2_bytes, cache.l3_bytes))
    text = spec.description or spec.source
    vector = f"{spec.vector.width_bits} bit x {spec.vector.register_count}"
    return (
        *(spec.name, spec.family, vector, *sizes),
        *(str(spec.cores.count), _runs_here(spec), text),
    )


def _runs_here(spec: TargetSpec) -> str:
    """Return whether code for `spec` can be run on this machine: yes or no."""
    if spec.name == "host":
        return "yes"
    import platform

    same = spec.llvm.architecture == platform.machine() and platform.system() == "Linux"
    native = spec.runner.kind == "native" and "linux" in spec.llvm.triple
    return "yes" if native and same and not missing_cpu_features(spec) else "no"


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.0f} KiB" if size_bytes else "-"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
