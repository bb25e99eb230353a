"""Records as a table for pandas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.tuning.folder import Line, read_lines
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.target_key import is_stale

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("id", "target", "fingerprint", "threads", "tvm_version", "rule_set_version", "stale"),
    *("workload", "kernel", "rule", "outcome", "reason", "unit", "median", "best", "values"),
    *("runner", "conditions", "trace", "file", "line"),
)


def records(folder: str | Path = "tuning_logs", *, target: str | None = None) -> pd.DataFrame:
    """Return one row for each record of a folder, in the order in which a writer wrote them.

    Lines that are no records are left out; `tunesmith logs check` names them. `median` and `best`
    are in `unit`; those of a candidate that failed are NaN.

    Args:
        target: the name of a target; all if None.

    Raises:
        RecordError: there is no such folder.
    """
    import pandas as pd

    lines = read_lines(Path(folder), target=target or "*")
    rows = [_row(line, line.record) for line in lines if line.record is not None]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(line: Line, record: ScheduleRecord) -> dict[str, Any]:
    key, measured = record.target, record.measurement
    return {
        "id": record.id,
        "target": key.name,
        "fingerprint": key.fingerprint,
        "threads": key.threads,
        "tvm_version": key.tvm_version,
        "rule_set_version": key.rule_set_version,
        "stale": is_stale(key),
        "workload": record.workload,
        "kernel": record.kernel,
        "rule": record.rule,
        "outcome": record.outcome,
        "reason": record.reason,
        "unit": measured.unit,
        "median": measured.typical if measured.values else float("nan"),
        "best": min(measured.values, default=float("nan")),
        "values": measured.values,
        "runner": measured.runner,
        "conditions": measured.conditions,
        "trace": record.trace,
        "file": line.file.as_posix(),
        "line": line.number,
    }
