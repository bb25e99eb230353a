"""``tunesmith logs show``: the records of a target, or one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from compiler.commands.logs_options import complain, folder_option, measured, state
from compiler.commands.output import json_option, print_facts, print_json, print_table
from compiler.tuning.folder import Line, RecordError, read_lines
from compiler.tuning.record import ScheduleRecord, decisions
from compiler.tuning.store import rank


@click.command("show")
@click.argument("what")
@folder_option
@click.option("--all", "everything", is_flag=True, help="Slower and failed ones, too.")
@json_option
def command(what: str, folder: Path, everything: bool, as_json: bool) -> None:
    """Show the records of WHAT: a target, a kernel or its hash, or the start of a record's id.

    Of each kernel on each target the best record, or all of them (--all). A single record is shown
    with what its schedule decided.
    """
    lines = list(read_lines(folder))
    found = _found([line.record for line in lines if line.record is not None], what)
    if not found:
        raise RecordError(
            f"no record of `{what}`",
            why=f"{folder} has no target, kernel, hash or record of that name",
            fix=f"`tunesmith logs list --log-dir {folder}` shows what it has",
        )
    shown = found if everything or len(found) == 1 else _best(found)
    if as_json:
        print_json([{"id": record.id, **asdict(record)} for record in shown])
        return
    complain(_complaints(lines))
    if len(shown) == 1:
        _print_record(shown[0])
    else:
        columns = ("record", "target", "kernel", "rule", "measured", "values", "outcome", "state")
        print_table(columns, [_row(record) for record in shown], right=("measured", "values"))


def _found(records: Sequence[ScheduleRecord], what: str) -> list[ScheduleRecord]:
    """By the first of name, hash and id that any record has; the same record once."""
    distinct = list({record.id: record for record in records}.values())
    named = [one for one in distinct if what in (one.target.name, one.kernel, one.workload)]
    return named or [one for one in distinct if what and one.id.startswith(what)]


def _best(records: Sequence[ScheduleRecord]) -> list[ScheduleRecord]:
    best: dict[tuple[str, str], ScheduleRecord] = {}
    for record in sorted(records, key=lambda one: (not one.is_usable, rank(one))):
        best.setdefault((record.target.fingerprint, record.workload), record)
    return sorted(best.values(), key=lambda one: (one.target.name, one.kernel, one.workload))


def _complaints(lines: Sequence[Line]) -> list[str]:
    return [line.complaint for line in lines if line.record is None]


def _row(record: ScheduleRecord) -> tuple[str, ...]:
    return (
        *(record.id, record.target.name, record.kernel, record.rule or "-"),
        *(measured(record.measurement), str(len(record.measurement.values)), record.outcome),
        state(record.target),
    )


def _print_record(record: ScheduleRecord) -> None:
    key, measurement = record.target, record.measurement
    values = " ".join(f"{value:,.1f}" for value in measurement.values)
    print_facts(
        [
            ("record", record.id),
            ("target", f"{key.name}, {key.threads} threads, {state(key)}"),
            ("fingerprint", key.fingerprint),
            ("made by", key.tools),
            ("kernel", f"{record.kernel} ({record.workload})"),
            ("rule", record.rule or "-"),
            ("outcome", f"{record.outcome}: {record.reason}" if record.reason else record.outcome),
            ("measured", f"{measured(measurement)} of {values}" if values else "-"),
            ("runner", f"{measurement.runner} {measurement.conditions}".strip()),
            ("steps", str(len(record.trace[0]))),
        ]
    )
    for step, decision in decisions(record):
        click.echo(f"  {step}  {_text(decision)}")


def _text(decision: Any) -> str:
    return " x ".join(map(str, decision)) if isinstance(decision, list) else str(decision)
