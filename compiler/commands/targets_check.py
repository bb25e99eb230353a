"""``tunesmith targets check``: can libraries for a target be built and tried on this machine?"""

from __future__ import annotations

import click

from compiler.commands.output import json_option, print_json, print_table, progress_reporter
from compiler.target_spec import available_targets
from compiler.target_trial import TargetTrial, try_target


@click.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Look for toolchain and runner of targets, all by default; compile and run one operator.

    A target that fails makes the exit code 1; one that nothing here can run does not.
    """
    trials = []
    with progress_reporter() as report:
        for name in names or available_targets():
            report(name)
            trials.append(try_target(name))
    if as_json or (ctx.parent is not None and ctx.parent.params["as_json"]):
        print_json([trial.as_json() for trial in trials])
    else:
        columns = ("target", "toolchain", "runner", "one operator")
        print_table(columns, [_row(trial) for trial in trials])
    if any(trial.status == "failed" for trial in trials):
        ctx.exit(1)


def _row(trial: TargetTrial) -> tuple[str, ...]:
    status = trial.status if trial.status == "passed" else f"{trial.status}: {trial.reason}"
    return (trial.target, trial.toolchain or "missing", trial.runner or "missing", status)
