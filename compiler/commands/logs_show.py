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
from compiler.tuning.record import (
    ChoiceRecord,
    Measurement,
    Record,
    ScheduleRecord,
    Verdict,
    choice_text,
    decisions,
)


@click.command("show")
@click.argument("what")
@folder_option
@click.option("--all", "everything", is_flag=True, help="Slower and failed ones, too.")
@json_option
def command(what: str, folder: Path, everything: bool, as_json: bool) -> None:
    """Show the records of WHAT: a target, a kernel or its hash, or the start of a record's id.

    WHAT may also be an operator's signature, or the name of a model that its choice was measured
    in. Of each kernel and operator on each target the best record, or all of them (--all). A single
    record is shown with what its schedule decided.
    """
    lines = list(read_lines(folder))
    known = [line.record for line in lines if line.record is not None]
    found = _found(known, what)
    if not found:
        raise RecordError(
            f"no record of `{what}`",
            why=f"{folder} has no target, kernel, hash or record of that name",
            fix=f"`tunesmith logs list --log-dir {folder}` shows what it has",
        )
    shown = found if everything or len(found) == 1 else _best(found, known)
    if as_json:
        print_json([{"id": record.id, "kind": record.kind, **asdict(record)} for record in shown])
        return
    complain(_complaints(lines))
    if len(shown) == 1:
        _print_record(shown[0])
    else:
        columns = ("record", "target", "kernel", "rule", "measured", "values", "outcome", "state")
        print_table(columns, [_row(record) for record in shown], right=("measured", "values"))


def _found(records: Sequence[Record], what: str) -> list[Record]:
    """By the first of name, hash and id that any record has; the same record once."""
    distinct = list({record.id: record for record in records}.values())
    named = [one for one in distinct if what in (one.target.name, *_names(one))]
    return named or [one for one in distinct if what and one.id.startswith(what)]


def _names(record: Record) -> tuple[str, ...]:
    if isinstance(record, ScheduleRecord):
        return record.workload, record.kernel
    if isinstance(record, ChoiceRecord):
        return record.signature, record.model
    return (record.candidate[0],)


def _best(found: Sequence[Record], known: Sequence[Record]) -> list[Record]:
    """The best of each kernel and operator; a verdict only if there is nothing else of one."""
    rejected = {
        (one.target.fingerprint, one.candidate) for one in known if isinstance(one, Verdict)
    }

    def order(record: Record) -> tuple[Any, ...]:
        if isinstance(record, Verdict):
            return True, record.id
        unused = not record.is_usable or (record.target.fingerprint, record.candidate) in rejected
        worth = -record.saved if isinstance(record, ChoiceRecord) else record.measurement.typical
        return False, unused, record.measurement.unit != "us", worth, record.id

    best: dict[tuple[str, str], Record] = {}
    for record in sorted(found, key=order):
        best.setdefault((record.target.fingerprint, record.candidate[0]), record)
    return sorted(best.values(), key=lambda one: (one.target.name, _subject(one), one.candidate))


def _complaints(lines: Sequence[Line]) -> list[str]:
    return [line.complaint for line in lines if line.record is None]


def _row(record: Record) -> tuple[str, ...]:
    head, subject = (record.id, record.target.name), _subject(record)
    if isinstance(record, Verdict):
        what = choice_text(record.choice) if record.choice is not None else record.trace_id
        return (*head, subject, what, "-", "-", record.verdict, state(record.target))
    how = record.rule or "-" if isinstance(record, ScheduleRecord) else choice_text(record.choice)
    measurement = record.measurement
    figures = (measured(measurement), str(len(measurement.values)), record.outcome)
    return (*head, subject, how, *figures, state(record.target))


def _subject(record: Record) -> str:
    """What the record is of: a kernel by its name, an operator by its signature."""
    return record.kernel if isinstance(record, ScheduleRecord) else record.candidate[0]


def _print_record(record: Record) -> None:
    key = record.target
    about = _verdict(record) if isinstance(record, Verdict) else _measured_facts(record)
    print_facts(
        [
            ("record", record.id),
            ("target", f"{key.name}, {key.threads} threads, {state(key)}"),
            ("fingerprint", key.fingerprint),
            ("made by", key.tools),
            *about,
        ]
    )
    if isinstance(record, ScheduleRecord):
        for step, decision in decisions(record):
            click.echo(f"  {step}  {_text(decision)}")


def _verdict(record: Verdict) -> list[tuple[str, str]]:
    if record.choice is None:
        named = [("workload", record.workload), ("schedule", record.trace_id)]
    else:
        named = [("operator", record.signature), ("choice", choice_text(record.choice))]
    return [*named, ("verdict", f"{record.verdict}: {record.reason}")]


def _measured_facts(record: ScheduleRecord | ChoiceRecord) -> list[tuple[str, str]]:
    measurement, more = record.measurement, []
    if isinstance(record, ScheduleRecord):
        of = [("kernel", f"{record.kernel} ({record.workload})"), ("rule", record.rule or "-")]
        more = [("steps", str(len(record.trace[0])))]
    else:
        of = [
            ("operator", record.signature),
            ("choice", choice_text(record.choice)),
            ("instead of", choice_text(record.instead_of)),
            ("model", f"{record.model}, which has {record.operators}"),
        ]
        more = [("by default", _values(record.default))]
    outcome = f"{record.outcome}: {record.reason}" if record.reason else record.outcome
    return [
        *of,
        ("outcome", outcome),
        ("measured", _values(measurement)),
        ("runner", f"{measurement.runner} {measurement.conditions}".strip()),
        *more,
    ]


def _values(measurement: Measurement) -> str:
    values = " ".join(f"{value:,.1f}" for value in measurement.values)
    return f"{measured(measurement)} of {values}" if values else "-"


def _text(decision: Any) -> str:
    return " x ".join(map(str, decision)) if isinstance(decision, list) else str(decision)
