"""Acceptance at a run's end: records that make the whole model slower are rejected by a record."""

from __future__ import annotations

from pathlib import Path

from compiler.onnx_import.model import Model
from compiler.target_spec import Precision, TargetSpec
from compiler.tuner.events import Judged
from compiler.tuner.placement import Placement, on
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.target_key import TargetKey
from compiler.tuning.writer import RecordWriter


def judge(
    model: Model,
    spec: TargetSpec,
    folder: Path,
    key: TargetKey,
    placement: Placement,
    exact: bool,
    precision: Precision,
    deadline_s: float | None,
) -> Judged:
    """Run the model with the records in `folder` and without, and append what is rejected.

    Args:
        deadline_s: from now; None: no limit.
    """
    from compiler.tuner.acceptance import accept

    with on(placement.usable):  # nothing else is built or measured any more
        found = accept(
            model,
            spec,
            folder,
            threads=key.threads,
            exact=exact,
            precision=precision,
            deadline_s=deadline_s,
        )
    with RecordWriter(folder, key) as writer:
        for verdict in found.verdicts:
            writer.append(verdict)
    records = [rejection.record for rejection in found.rejected]
    return Judged(
        accepted=not found.rejected,
        gain=1 / found.times.ratio if found.times is not None else None,
        rejected=tuple(
            one.kernel if isinstance(one, ScheduleRecord) else one.signature for one in records
        ),
        reason=found.reason,
    )
