"""A run on this machine with schedules planted among the candidates that are wrong or crash."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.target_spec import load_target
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.kernel_data import KernelDataSource
from compiler.tuner.native_runner import NativeRunner
from compiler.tuner.run import Bench, TuneOptions, run
from compiler.tuner.trial import Built, Candidate
from compiler.tuning.folder import read_lines
from compiler.tuning.record import ScheduleRecord, trace_id
from compiler.tuning.store import read_records
from compiler.tuning.target_key import target_key
from tests.planted_kernels import with_body
from tests.tuner_fakes import found_tasks

# By far the fastest of all candidates: it does nothing, or not for long.
_PLANTED = {
    "wrong-numbers": "",
    "crashed": "*(volatile int *)0 = 1;",
    "timed-out": "for (volatile int i = 0; ; i++) { }",
}


class PlantingPool:
    """A pool whose candidates but the first, which is the default, become other code."""

    def __init__(self, pool: BuildPool, body: str) -> None:
        self._pool, self._body = pool, body
        self.planted: set[str] = set()
        self._default = ""

    def submit(self, candidate: Candidate) -> Future[Built]:
        name = trace_id(candidate.trace)
        self._default = self._default or name
        if name == self._default or (self.planted and name not in self.planted):
            return self._pool.submit(candidate)
        self.planted.add(name)
        built = self._pool.submit(candidate).result()
        assert built.kernel is not None, built.reason
        changed: Future[Built] = Future()
        changed.set_result(replace(built, kernel=with_body(built.kernel, self._body)))
        return changed


@pytest.mark.slow
@pytest.mark.parametrize("how", list(_PLANTED))
def test_a_planted_schedule_is_recorded_and_never_used(tmp_path: Path, how: str) -> None:
    spec = load_target("host").with_cores(1)
    key, logs = target_key(spec, 1), tmp_path / "logs"
    found = found_tasks(kernels="conv2d_add_add*", spec=spec)
    with (
        NativeRunner(1, timeout_s=3.0) as runner,
        BuildPool(spec, LoweringOptions(), workers=1) as pool,
        KernelDataSource() as source,
    ):
        planting = PlantingPool(pool, _PLANTED[how])
        bench = Bench(builder=planting, runner=runner, data_of=source.data, depth=1)
        run("m", found, key, logs, bench, TuneOptions(trials=3), lambda _: None)
    records = [line.record for line in read_lines(logs) if isinstance(line.record, ScheduleRecord)]
    (planted,) = [one for one in records if one.trace_id in planting.planted]
    assert planted.outcome == how
    assert planted.reason
    passed = {one.trace_id for one in records if one.is_usable}
    assert len(passed) == 3  # what came after it went on as if nothing had happened
    (used,) = read_records(logs, key).schedules.values()
    assert used.trace_id in passed
