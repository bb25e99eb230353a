"""``tunesmith compile``: an ONNX file to a checked stand-alone library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.commands.io_memory_option import io_memory_option
from compiler.commands.limit_option import limit_option
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.number_options import precision_option, weights_option
from compiler.commands.output import json_option, print_facts, print_json, progress_reporter

if TYPE_CHECKING:
    from compiler.artifact.manifest import Artifact
    from compiler.pipeline import VerifyMode

_PATH = click.Path(path_type=Path)
_SOURCES = ("record", "rule", "fallback")  # in the order in which they are tried


def _records(_context: click.Context, _parameter: click.Parameter, folder: Path) -> Path | None:
    return None if str(folder) == "none" else folder


@click.command("compile")
@click.argument("model", metavar="MODEL", type=_PATH)
@click.option("--target", required=True, help="A target's name, `host`, or a .toml file.")
@click.option("-o", "--output", required=True, type=_PATH, help="The artifact folder to write.")
@shape_option
@value_option
@click.option("--inputs", type=_PATH, help="Arrays for the check (.npz); else drawn.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of a session; else the target's cores."
)
@click.option(
    "--exact", is_flag=True, help="No algorithm that trades accuracy for speed (Winograd)."
)
@precision_option
@click.option(
    "--io",
    type=click.Choice(["model", "int8"]),
    default="model",
    show_default=True,
    help="What the library takes and gives: as in MODEL, or integers where it quantizes at once.",
)
@io_memory_option
@limit_option
@weights_option
@click.option(
    "--weights-form",
    type=click.Choice(["incbin", "c"]),
    default="incbin",
    show_default=True,
    help="How weights enter the library: a binary file that the assembler includes, or C source.",
)
@click.option(
    "--records",
    type=_PATH,
    callback=_records,
    default="none",
    show_default=True,
    help="A folder of tuning records, or none.",
)
@click.option(
    "--require-records", is_flag=True, help="Refuse a model with a kernel that has no record."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Kernels compiled at a time.")
@click.option("--dump-stages", type=_PATH, help="A folder for the module after each stage.")
@click.option("--no-verify", is_flag=True, help="Do not compare with onnxruntime.")
@click.option("--require-verify", is_flag=True, help="Refuse a target that cannot run here.")
@json_option
def command(no_verify: bool, require_verify: bool, as_json: bool, **options: Any) -> None:
    """Compile the ONNX file MODEL to a library that needs nothing but libc and libm.

    The library is compared with onnxruntime before it is called done.
    """
    if no_verify and require_verify:
        raise click.UsageError("--no-verify and --require-verify exclude each other")
    if options["require_records"] and options["records"] is None:
        raise click.UsageError("--require-records needs a folder of them: give --records too")
    from compiler.pipeline import compile as compile_model

    mode: VerifyMode = "skip" if no_verify else "require" if require_verify else "auto"
    options["jobs"] = options["jobs"] or os.cpu_count() or 1
    with progress_reporter() as report:
        artifact = compile_model(verify=mode, report=report, warn=_warn, **options)
    if as_json:
        print_json(summary(artifact))
    else:
        _print_summary(artifact)


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def summary(artifact: Artifact) -> dict[str, Any]:
    """Return what was made and how it was checked, as plain JSON values."""
    import json

    checked: dict[str, Any] = {"status": "not checked", "reason": "--no-verify"}
    if artifact.verification_path.exists():
        checked = json.loads(artifact.verification_path.read_text(encoding="utf-8"))
    report = artifact.report()
    sources = [kernel["schedule"]["source"] for kernel in report["kernels"]]
    kernels = {source: sources.count(source) for source in _SOURCES if source in sources}
    return {
        "artifact": str(artifact.path),
        "model": artifact.manifest.model.name,
        "target": artifact.manifest.target.name,
        "library": artifact.library_path.relative_to(artifact.path).as_posix(),
        "totals": report["totals"],
        "kernel_calls_by_schedule": kernels,
        "verification": {key: checked[key] for key in ("status", "reason")},
    }


def _print_summary(artifact: Artifact) -> None:
    facts = summary(artifact)
    totals = facts["totals"]
    schedules = ", ".join(
        f"{count} by {source}" for source, count in facts["kernel_calls_by_schedule"].items()
    )
    checked = facts["verification"]
    bound, relax = totals["lower_bound_bytes"], totals["relax_plan_bytes"]
    print_facts(
        [
            ("artifact", facts["artifact"]),
            ("library", f"{facts['library']}, {totals['library_bytes']:,} bytes"),
            ("weights", f"{totals['weight_bytes']:,} bytes"),
            (
                "arena",
                f"{totals['arena_bytes']:,} bytes (lower bound {bound:,}, Relax's plan {relax:,})"
                + (", inputs and outputs in it" if artifact.manifest.has_io_in_arena else ""),
            ),
            ("kernel calls", schedules or "none"),
            ("layout changes", f"{totals['layout_changes']}"),
            ("check", f"{checked['status']}: {checked['reason']}"),
        ]
    )
