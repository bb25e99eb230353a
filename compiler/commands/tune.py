"""``tunesmith tune``: search faster schedules, and keep what was measured."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from compiler.board_address import DEFAULT_TIMEOUT_S
from compiler.commands.logs_options import PATH, folder_option, target_option, threads_option
from compiler.commands.model_options import shape_option, value_option
from compiler.commands.number_options import precision_option

if TYPE_CHECKING:
    from compiler.tuner.events import Event

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}


def parse_time(text: str) -> float:
    """Return seconds: ``10m``, ``90s``, ``1h30m``, ``2.5m``; a bare number is seconds.

    Raises:
        click.BadParameter: not of that form, or no time at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise click.BadParameter(f"'{text}': write 10m, 90s or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise click.BadParameter(f"'{text}' is no time at all")
    return seconds


def _time(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    return None if text is None else parse_time(text)


@click.command("tune")
@click.argument("model", metavar="MODEL", type=PATH)
@target_option
@folder_option
@click.option("--time", "seconds", metavar="10m", callback=_time, help="Stop after that long.")
@click.option("--trials", type=click.IntRange(min=1), help="Stop after that many that passed.")
@click.option(
    "--stop-gain",
    type=click.FloatRange(min=0.0, max=100.0),
    default=0.5,
    show_default=True,
    metavar="PERCENT",
    help="Stop when less is expected to be gained, of the model's time.",
)
@click.option(
    "--kernels", metavar="PATTERN", default="*", help="Only kernels with such names (* and ?)."
)
@click.option("--resume", is_flag=True, help="Count what an interrupted run had spent.")
@threads_option
@click.option("--exact", is_flag=True, help="As of `tunesmith compile`.")
@precision_option
@shape_option
@value_option
@click.option(
    "--runner",
    "runner_kind",
    type=click.Choice(["auto", "native", "emulator", "rpc"]),
    default="auto",
    show_default=True,
    help="What measures; auto: as the target says.",
)
@click.option("--tracker", metavar="HOST:PORT", help="TVM's RPC tracker, for --runner rpc.")
@click.option("--key", metavar="KEY", help="Of the boards at the tracker.")
@click.option(
    "--rpc-timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.IntRange(min=1),
    help="The longest that an answer of either may take; then a board is set aside.  "
    f"[default: {DEFAULT_TIMEOUT_S}]",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes that build.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--choices/--no-choices",
    default=True,
    show_default=True,
    help="First search algorithms and layouts of operators.",
)
@click.option(
    "--acceptance/--no-acceptance",
    default=True,
    show_default=True,
    help="Run the whole model with the records and without, and reject what makes it slower.",
)
@click.option("--explain", is_flag=True, help="Say where first candidates came from.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
def command(
    model: Path,
    folder: Path,
    stop_gain: float,
    runner_kind: Any,
    tracker: str | None,
    key: str | None,
    timeout_s: int | None,
    explain: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search faster schedules for the kernels of MODEL, and keep all that is measured as records.

    Candidates are built on some processors and measured on others. `tunesmith compile --records`
    uses what was found. Ctrl-C ends the run when what is in flight is saved; a second one at once.
    """
    if (tracker or key or timeout_s) and runner_kind in ("native", "emulator"):
        raise click.UsageError(
            f"--tracker, --key and --rpc-timeout do not go with --runner {runner_kind}"
        )
    from compiler.commands.tune_view import open_view, print_result
    from compiler.tuner.open_trials import RunnerOptions
    from compiler.tuner.tune import tune

    with _stop_on_ctrl_c() as stop, open_view(options["seconds"], quiet=as_json) as view:
        result = tune(
            model,
            log_dir=folder,
            stop_gain=stop_gain / 100,
            runner=RunnerOptions(kind=runner_kind, tracker=tracker, key=key, timeout_s=timeout_s),
            listener=_print_line if as_json else view,
            report=view.report,
            stop=stop,
            **options,
        )
    if not as_json:
        print_result(result, explain=explain)


def _print_line(event: Event) -> None:
    from compiler.tuner.events import as_json

    click.echo(json.dumps(as_json(event)))
    sys.stdout.flush()  # whoever reads lines wants them now


@contextmanager
def _stop_on_ctrl_c() -> Iterator[threading.Event]:
    """Yield what the first Ctrl-C sets; the second one raises KeyboardInterrupt as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        click.echo("ending: what is in flight is saved (again: at once)", err=True)
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
