"""``tunesmith targets``: which machines can be compiled for."""

from __future__ import annotations

import importlib
from typing import Any

import click

from compiler.commands.output import json_option, print_facts, print_json, print_table
from compiler.target_spec import (
    GpuSpec,
    TargetSpec,
    available_targets,
    load_target,
    missing_cpu_features,
    required_cpu_features,
    runs_here,
)


class _Targets(click.Group):
    """``targets NAME`` is what people type first: say how it is written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "check"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "check":
            return super().get_command(ctx, cmd_name)
        # By name: this one compiles a model, while listing and showing need the specs only.
        found = importlib.import_module("compiler.commands.targets_check").command
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            ctx.fail(f"write `tunesmith targets show {args[0]}`")
        return super().resolve_command(ctx, args)


@click.group("targets", cls=_Targets, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the machines that can be compiled for, or show one."""
    if ctx.invoked_subcommand is not None:
        return
    specs = [load_target(name) for name in available_targets()]
    if as_json:
        print_json([{**spec.as_dict(), "runs_here": runs_here(spec)} for spec in specs])
        return
    columns = ("target", "family", "vector", "L1d", "L2", "L3", "cores", "runs here", "what it is")
    print_table(columns, [_row(spec) for spec in specs], right=columns[2:7])


@command.command("show")
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show every fact of one target: a name, or the path of a .toml file."""
    spec = load_target(name)
    if as_json or (ctx.parent is not None and ctx.parent.params["as_json"]):
        print_json({**spec.as_dict(), "runs_here": runs_here(spec)})
        return
    _print_tables(spec)
    missing = missing_cpu_features(spec)
    lacks = "no, lacks " + " ".join(missing)
    click.echo(f"\nneeds      {' '.join(required_cpu_features(spec)) or 'the baseline only'}")
    click.echo(f"runs here  {lacks if missing else _yes_or_no(runs_here(spec))}")


def _print_tables(spec: TargetSpec) -> None:
    facts = spec.as_dict()
    scalars = {key: value for key, value in facts.items() if not isinstance(value, dict | list)}
    print_facts([(key, _text(value)) for key, value in scalars.items()])
    tables = {key: table for key, table in facts.items() if isinstance(table, dict)}
    for region in facts.get("memory", []):
        address = {"start_address": f"{region['start_address']:#x}"}
        tables[f"memory.{region['name']}"] = {**region, **address}
    for title, table in tables.items():
        click.echo(f"\n[{title}]")
        print_facts([(key, _text(value)) for key, value in table.items()], indent=2)


def _row(spec: TargetSpec) -> tuple[str, ...]:
    if spec.gpu is not None:
        return _gpu_row(spec, spec.gpu)
    cache = spec.cache
    sizes = (_kib(size) for size in (cache.l1d_bytes, cache.l2_bytes, cache.l3_bytes))
    text = spec.description or spec.source
    vector = f"{spec.vector.width_bits} bit x {spec.vector.register_count}"
    return (
        *(spec.name, spec.family, vector, *sizes),
        *(str(spec.cores.count), _yes_or_no(runs_here(spec)), text),
    )


def _gpu_row(spec: TargetSpec, gpu: GpuSpec) -> tuple[str, ...]:
    """A multiprocessor is what a core is elsewhere; whether there is a GPU, its driver knows."""
    sizes = ("-", _kib(gpu.l2_bytes), "-")
    text = spec.description or spec.source
    return (spec.name, spec.family, gpu.arch, *sizes, str(gpu.sm_count), "no", text)


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.0f} KiB" if size_bytes else "-"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
