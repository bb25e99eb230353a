"""Records as tables for pandas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.tuning.folder import Line, read_lines
from compiler.tuning.record import ChoiceRecord, Measurement, Record, ScheduleRecord, Verdict
from compiler.tuning.target_key import is_stale

if TYPE_CHECKING:
    import pandas as pd

_TARGET = ("id", "target", "fingerprint", "threads", "tvm_version", "rule_set_version", "stale")
_OUTCOME = ("outcome", "reason", "rejected", "unit", "median", "best", "values")
_ORIGIN = ("runner", "conditions", "file", "line")
COLUMNS = (*_TARGET, "workload", "kernel", "rule", *_OUTCOME, "trace", *_ORIGIN)
CHOICE_COLUMNS = (
    *(*_TARGET, "signature", "choice", "instead_of", "model", "operators", *_OUTCOME),
    *("default_median", "default_values", "saved", *_ORIGIN),
)


def records(folder: str | Path = "tuning_logs", *, target: str | None = None) -> pd.DataFrame:
    """Return one row for each schedule record of a folder, in the order in which they were written.

    Lines that are no records are left out; `tunesmith logs check` names them. `median` and `best`
    are in `unit`; those of a candidate that failed are NaN. No build uses `rejected` schedules:
    a whole model was slower with them, wrong, or no faster.

    Args:
        target: the name of a target; all if None.

    Raises:
        RecordError: there is no such folder.
    """
    return _table(Path(folder), target, ScheduleRecord, COLUMNS)


def choices(folder: str | Path = "tuning_logs", *, target: str | None = None) -> pd.DataFrame:
    """Return the like for choices of operators: algorithm, layout and packing.

    `median` and `default_median` are sums over the kernels that differ from the default's; `saved`
    is what one operator saves, in `unit`.

    Args:
        target: the name of a target; all if None.

    Raises:
        RecordError: there is no such folder.
    """
    return _table(Path(folder), target, ChoiceRecord, CHOICE_COLUMNS)


def _table(
    folder: Path, target: str | None, kind: type[Record], columns: tuple[str, ...]
) -> pd.DataFrame:
    import pandas as pd

    lines = list(read_lines(folder, target=target or "*"))
    rejected = {
        (line.record.target.fingerprint, *line.record.candidate)
        for line in lines
        if isinstance(line.record, Verdict)
    }
    rows = []
    for line in lines:
        record = line.record
        if record is None or isinstance(record, Verdict) or not isinstance(record, kind):
            continue
        own = _schedule(record) if isinstance(record, ScheduleRecord) else _choice(record)
        is_rejected = (record.target.fingerprint, *record.candidate) in rejected
        rows.append({**_facts(line, record), **own, "rejected": is_rejected})
    return pd.DataFrame(rows, columns=list(columns))


def _facts(line: Line, record: ScheduleRecord | ChoiceRecord) -> dict[str, Any]:
    key, measured = record.target, record.measurement
    return {
        "id": record.id,
        "target": key.name,
        "fingerprint": key.fingerprint,
        "threads": key.threads,
        "tvm_version": key.tvm_version,
        "rule_set_version": key.rule_set_version,
        "stale": is_stale(key),
        "outcome": record.outcome,
        "reason": record.reason,
        "unit": measured.unit,
        "median": _median(measured),
        "best": min(measured.values, default=float("nan")),
        "values": measured.values,
        "runner": measured.runner,
        "conditions": measured.conditions,
        "file": line.file.as_posix(),
        "line": line.number,
    }


def _schedule(record: ScheduleRecord) -> dict[str, Any]:
    own = ("workload", "kernel", "rule", "trace")
    return {name: getattr(record, name) for name in own}


def _choice(record: ChoiceRecord) -> dict[str, Any]:
    own = ("signature", "choice", "instead_of", "model", "operators")
    return {
        **{name: getattr(record, name) for name in own},
        "default_median": _median(record.default),
        "default_values": record.default.values,
        "saved": record.saved if record.is_usable else float("nan"),
    }


def _median(measured: Measurement) -> float:
    return measured.typical if measured.values else float("nan")
