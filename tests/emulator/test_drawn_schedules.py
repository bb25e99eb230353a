"""Whatever a rule draws for a board or a Linux target, the kernel computes the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from compiler.scheduling import trace_json
from compiler.target_spec import TargetSpec
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.emulator_runner import EmulatorRunner
from compiler.tuner.kernel_data import KernelDataSource
from compiler.tuner.trial import Candidate, TuningTask
from schedules.draws import draws, with_decisions
from tests.emulator.test_emulator_runner import needs_tools
from tests.tuning_tasks import default_schedule, tasks

# Float in C and NEON; pairs of the DSP extension; calls of the runtime for int8.
CASES = (
    ("cortex-m4f", "mlperf_tiny_kws_dscnn_f32", 9),
    ("cortex-m4f", "mlperf_tiny_kws_dscnn_qdq8", 4),
    ("cortex-a72", "mlperf_tiny_kws_dscnn_qdq8", 5),
    ("cortex-m0plus", "mlperf_tiny_ad_autoencoder_qdq8", 4),
)


def other_schedules(task: TuningTask, spec: TargetSpec) -> Iterator[Candidate]:
    """The default schedule with one draw decided otherwise: the first and the last choice of it."""
    rule, schedule = default_schedule(task, spec)
    for draw in draws(schedule):
        for choice in {draw.choices[0], draw.choices[-1]} - {draw.decision}:
            try:
                changed = with_decisions(task.func, schedule, {draw.step: choice})
            except (RuntimeError, ValueError):
                continue  # its steps do not fit: the tuner passes it over
            yield Candidate(task=task, trace=trace_json(changed), rule=rule)


@pytest.mark.emulator
@pytest.mark.parametrize(("target", "name", "least"), CASES)
def test_every_draw(target: str, name: str, least: int, models: Path) -> None:
    spec = needs_tools(target).with_cores(1)
    model = onnx.load(models / f"{name}.onnx")
    passed = 0
    with (
        EmulatorRunner(spec) as runner,
        BuildPool(spec, LoweringOptions(), workers=1) as pool,
        KernelDataSource() as source,
    ):
        for task in tasks(model, spec).values():
            built = [pool.submit(one) for one in other_schedules(task, spec)]
            data = source.data(task) if built else None
            for one in built:
                kernel = one.result().kernel
                if kernel is None:
                    assert one.result().outcome == "not-built", one.result().reason
                    continue
                assert data is not None
                measured = runner.measure(kernel, data)
                assert (measured.outcome, measured.reason) == ("passed", ""), task.kernel
                passed += 1
    assert passed >= least
