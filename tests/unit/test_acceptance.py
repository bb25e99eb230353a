"""Which records a model's build may use: the whole model decides."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from compiler.artifact.manifest import Artifact
from compiler.errors import LimitError, NotRunnableError, VerificationError
from compiler.kernels import build as kernels_build
from compiler.limits import with_limits
from compiler.onnx_import.model import Model
from compiler.pipeline import compile as compile_model
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.target_spec import TargetSpec, load_target
from compiler.tuner import model_builds
from compiler.tuner.acceptance import _Judge, accept
from compiler.tuner.model_builds import NotComparedError, Trial, Usable
from compiler.tuner.model_process import ModelProcess
from compiler.tuner.run_times import RunTimes, compare_runs, kernel_ratios, margin_of
from compiler.tuning.record import ChoiceRecord, Measurement, Record, ScheduleRecord, Verdict
from compiler.tuning.target_key import target_key
from compiler.tuning.writer import RecordWriter
from tests.lowered import loaded, workloads
from tests.onnx_models import conv_net_model
from tests.planted_kernels import with_body
from tests.tuning_records import TRACE, record
from tests.tuning_tasks import default_candidate, tasks_of

TIMES = RunTimes(unit="us", old=10.0, new=9.0, ratio=0.9, margin=0.01, rounds=7)


def one(workload: str, time: float = 1.0, trace: int = 0) -> ScheduleRecord:
    return record(time, time, time, workload=workload, trace=[*TRACE[:1], [[1, [trace]]]])


def choice(signature: str) -> ChoiceRecord:
    measured = Measurement(unit="us", values=(1.0,), runner="native")
    return ChoiceRecord(
        target=one("w").target,
        signature=signature,
        choice={"algorithm": "direct"},
        instead_of={"algorithm": "winograd"},
        model="made up",
        operators=1,
        outcome="passed",
        measurement=measured,
        default=replace(measured, values=(2.0,)),
    )


@dataclass
class Builds:
    """In place of real ones: the problem of a set of workloads and signatures, who is to blame."""

    problem: Callable[[set[str]], str]
    blame: Callable[[Sequence[Usable]], Sequence[Usable]] = lambda _: ()
    needless: frozenset[str] = frozenset()
    tried: list[set[str]] = field(default_factory=list)
    records: Sequence[Usable] = ()  # of the last trial

    def trial(self, records: Sequence[Usable]) -> Trial:
        names = {one.candidate[0] for one in records}
        self.tried.append(names)
        self.records = records
        problem = self.problem(names)
        blamed = tuple((one.id, "it is slow") for one in self.blame(records)) if problem else ()
        return Trial(problem=problem, times=TIMES, to_blame=blamed)

    def without_gain(self, _: Trial) -> Mapping[str, str]:
        return {one.id: "no gain" for one in self.records if one.candidate[0] in self.needless}


def judged(builds: Any, known: Sequence[Record], deadline: float | None = None) -> Any:
    return _Judge(builds, known, deadline).judged()


def names(records: Sequence[Usable]) -> set[str]:
    return {one.candidate[0] for one in records}


def test_good_records_are_accepted_at_once() -> None:
    known: list[Record] = [one("a"), one("b"), choice("conv")]
    builds = Builds(lambda _: "")
    result = judged(builds, known)
    assert names(result.accepted) == {"a", "b", "conv"}
    assert (result.rejected, result.verdicts, result.times) == ((), (), TIMES)
    assert result.reason == "9 us a run, 10 without records"
    assert len(builds.tried) == 1


def test_nothing_to_judge() -> None:
    builds = Builds(lambda _: "")
    result = judged(builds, [])
    assert (result.accepted, result.rejected, builds.tried) == ((), (), [])
    assert result.reason == "there are no records that a build would use"


def test_what_is_to_blame_is_rejected_and_the_next_best_is_tried() -> None:
    best, second, other = one("a", 1.0, trace=1), one("a", 2.0, trace=2), one("b")
    builds = Builds(
        lambda _: "slower" if len(builds.tried) == 1 else "",
        lambda records: [best] if best in records else [],
    )
    result = judged(builds, [best, second, other])
    assert sorted(one.id for one in result.accepted) == sorted([second.id, other.id])
    assert [rejection.record for rejection in result.rejected] == [best]
    (verdict,) = result.verdicts
    assert verdict.candidate == best.candidate
    assert verdict.reason == "it is slow"


@pytest.mark.parametrize("bad", [{"c"}, {"a"}, {"h"}, {"a", "h"}, {"b", "c", "g"}, set("abcdefgh")])
def test_parts_find_who_it_was(bad: set[str]) -> None:
    known = [one(letter) for letter in "abcdefgh"]
    builds = Builds(lambda tried: "too large" if tried & bad else "")
    result = judged(builds, known)
    assert names(result.accepted) == set("abcdefgh") - bad
    assert {rejection.record.workload for rejection in result.rejected} == bad
    assert all("too large" in rejection.reason for rejection in result.rejected)
    assert result.times == (TIMES if result.accepted else None)


def test_two_that_do_not_go_together() -> None:
    known = [one(letter) for letter in "abcd"]
    builds = Builds(lambda tried: "too large" if {"a", "d"} <= tried else "")
    result = judged(builds, known)
    assert names(result.accepted) == {"a", "b", "c"}


def test_all_records_of_a_workload_go_with_the_last_one() -> None:
    """Else a build would use the next best, which nobody has tried."""
    known: list[Record] = [one("a", 1.0, 1), one("a", 2.0, 2), one("b"), choice("conv")]
    builds = Builds(lambda tried: "too large" if tried & {"a", "conv"} else "")
    result = judged(builds, known)
    assert names(result.accepted) == {"b"}
    again = judged(Builds(lambda _: ""), [*known, *result.verdicts])
    assert names(again.accepted) == {"b"}


def test_what_makes_its_kernel_no_faster_is_rejected_and_the_default_stays() -> None:
    candidates = [one("a", time, trace) for trace, time in enumerate([1.0, 2.0, 3.0])]
    in_turns = [  # with the default, the last of them
        replace(known, measurement=replace(known.measurement, reference=3.0))
        for known in candidates
    ]
    builds = Builds(lambda _: "", needless=frozenset("a"))
    result = judged(builds, [*candidates, *in_turns, one("b")])
    assert builds.tried == [{"a", "b"}, {"a", "b"}]
    rejected = {one.record.candidate for one in result.rejected}
    assert rejected == {one.candidate for one in in_turns[:2]}
    assert in_turns[2] in result.accepted
    assert names(result.accepted) == {"a", "b"}


def test_what_makes_its_kernel_no_faster_stays_where_the_rest_needs_it() -> None:
    builds = Builds(lambda tried: "" if "a" in tried else "too large", needless=frozenset("a"))
    result = judged(builds, [one("a"), one("b")])
    assert builds.tried == [{"a", "b"}, {"b"}]
    assert names(result.accepted) == {"a", "b"}
    assert result.rejected == ()


def test_no_record_is_worth_it() -> None:
    builds = Builds(lambda _: "", needless=frozenset("ab"))
    result = judged(builds, [one("a"), one("b")])
    assert (result.accepted, result.times) == ((), None)
    assert {rejection.reason for rejection in result.rejected} == {"no gain"}
    assert result.reason == "no record makes its kernel faster in the model"


@dataclass(frozen=True, kw_only=True)
class UsingTrial:
    """In place of a `Trial` that knows what its build used."""

    problem: str
    used: frozenset[str]
    times: RunTimes = TIMES
    to_blame: tuple[tuple[str, str], ...] = ()


def test_records_of_other_models_are_not_to_blame() -> None:
    known = [one(letter) for letter in "abcdefgh"]
    used = frozenset(record.id for record in known[:4])
    tried = []

    class OfOneModel(Builds):
        def trial(self, records: Sequence[Usable]) -> Any:
            tried.append(names(records))
            return UsingTrial(problem="slower" if "b" in names(records) else "", used=used)

    result = judged(OfOneModel(lambda _: ""), known)
    assert names(result.accepted) == set("acdefgh")
    assert [rejection.record for rejection in result.rejected] == [known[1]]
    assert all(set("efgh") <= one for one in tried)
    late = judged(OfOneModel(lambda _: ""), known, deadline=0.0)
    assert {rejection.record.workload for rejection in late.rejected} == set("abcd")


def test_what_was_rejected_before_is_not_tried() -> None:
    verdict = Verdict(
        target=one("a").target, workload="a", trace_id=one("a").trace_id, reason="slow"
    )
    builds = Builds(lambda _: "")
    assert names(judged(builds, [one("a"), one("b"), verdict]).accepted) == {"b"}
    assert builds.tried == [{"b"}]


def test_time_is_bounded() -> None:
    known = [one(letter) for letter in "abcdefgh"]
    builds = Builds(lambda _: "slower")
    result = judged(builds, known, deadline=0.0)
    assert builds.tried == [set("abcdefgh")]
    assert result.accepted == ()
    assert {rejection.reason for rejection in result.rejected} == {
        "not shown to be good before the time was up"
    }
    # Without those to blame one more build is made.
    blamed = Builds(
        lambda tried: "slower" if "a" in tried else "",
        lambda records: [one for one in records if one.candidate[0] == "a"],
    )
    assert names(judged(blamed, known, deadline=0.0).accepted) == set("bcdefgh")


def test_nothing_runs_the_target() -> None:
    class NoBuilds:
        def trial(self, records: Sequence[Usable]) -> Trial:
            raise NotComparedError(f"this machine lacks AVX-512: {len(records)}")

    result = judged(NoBuilds(), [one("a")])
    assert names(result.accepted) == {"a"}
    assert result.times is None
    assert result.reason == "nothing was compared: this machine lacks AVX-512: 1"


def test_margin_grows_with_the_spread() -> None:
    assert margin_of([1.0] * 9) == 0.005
    assert margin_of([0.5, 1.0, 1.5, 0.7, 1.3]) == 0.02
    even = [1 + 0.002 * step for step in range(-10, 11)]  # median distance 0.01 of 21 values
    assert margin_of(even) == pytest.approx(2 * 1.2533 * 1.4826 * 0.01 / 21**0.5, rel=1e-6)
    slow = RunTimes(unit="us", old=1, new=1.001, ratio=1.001, margin=0.01, rounds=7)
    assert slow.is_slower
    assert not replace(slow, ratio=1.0).is_slower


NO_TRACE: list[Any] = [[], []]
# The sum of a convolution and its bias loses what is behind the point.
WRONG_TRACE: list[Any] = [
    [
        ["GetSBlock", [], ["T_add", "main"], ["b0"]],
        ["UnsafeSetDType", ["b0"], [0, "int8"], []],
    ],
    [],
]


def planted(
    spec: TargetSpec, folder: Path, traces: Mapping[str, list[Any]]
) -> list[ScheduleRecord]:
    """Write records of all kernels that say to be fast: defaults, but for kernels with a trace."""
    key = target_key(spec, spec.cores.count if spec.family == "mcu" else 1)
    found = tasks_of(workloads(conv_net_model(), spec))
    made = []
    with RecordWriter(folder, key) as writer:
        for name, task in found.items():
            trace = next(
                (trace for kernel, trace in traces.items() if name.startswith(kernel)),
                default_candidate(task, spec).trace,
            )
            made.append(record(1.0, key=key, workload=task.workload, kernel=name, trace=trace))
            writer.append(made[-1])
    return made


@pytest.mark.slow
def test_a_record_that_makes_the_model_slower_is_rejected(tmp_path: Path) -> None:
    spec = load_target("host")
    made = planted(spec, tmp_path / "logs", {"conv2d_add_relu": NO_TRACE})
    model = loaded(conv_net_model())
    steps: list[str] = []
    result = accept(model, spec, tmp_path / "logs", threads=1, report=steps.append)
    (slow,) = [one for one in made if one.trace == NO_TRACE]
    reasons = {rejection.record.id: rejection.reason for rejection in result.rejected}
    assert f"{slow.kernel} takes " in reasons[slow.id]
    assert steps[:2] == ["build without records", f"build with {len(made)} records"]
    assert "time each kernel" in steps
    with RecordWriter(tmp_path / "logs", slow.target) as writer:
        for verdict in result.verdicts:
            writer.append(verdict)
    artifact = compile_model(
        model,
        target=spec,
        output=tmp_path / "out",
        threads=1,
        records=tmp_path / "logs",
        verify="skip",
    )
    assert set(artifact.manifest.provenance.records_used) == {one.id for one in result.accepted}


def compiled(folder: Path, records: Path | None) -> Artifact:
    return compile_model(
        loaded(conv_net_model()),
        target="host",
        output=folder,
        threads=1,
        records=records,
        verify="skip",
    )


@pytest.mark.slow
def test_runs_and_kernels_in_turns(tmp_path: Path) -> None:
    spec = load_target("host")
    planted(spec, tmp_path / "logs", {"conv2d_add_relu": NO_TRACE})
    old, new = compiled(tmp_path / "old", None), compiled(tmp_path / "new", tmp_path / "logs")
    slower = compare_runs(old, new, threads=1, budget_s=2)
    assert slower.is_slower
    # Each is the median of all openings; only the ratio is of times that were taken in turns.
    assert min(slower.new, slower.old) > 1
    assert slower.rounds >= 7
    faster = compare_runs(new, old, threads=1, budget_s=2)
    assert not faster.is_slower
    assert faster.ratio == pytest.approx(1 / slower.ratio, rel=0.5)
    ratios = kernel_ratios(old, new, threads=1)
    assert max(ratios, key=lambda kernel: ratios[kernel]).startswith("conv2d_add_relu")


@pytest.mark.slow
def test_a_record_with_wrong_numbers_is_rejected(tmp_path: Path) -> None:
    spec = load_target("host")
    logs = tmp_path / "logs"
    made = planted(spec, logs, {"conv2d_add_relu": WRONG_TRACE})
    result = accept(loaded(conv_net_model()), spec, logs, threads=1)
    (wrong,) = [one for one in made if one.trace == WRONG_TRACE]
    reasons = {rejection.record.id: rejection.reason for rejection in result.rejected}
    assert reasons[wrong.id] == f"numbers of {wrong.kernel} are not onnxruntime's"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("*(volatile int *)0 = 1;", "crashes (ended by SIGSEGV"),
        ("for (volatile int i = 0; ; i++) { }", "hangs (no answer in "),
    ],
    ids=["crash", "hang"],
)
def test_a_record_that_crashes_or_hangs_in_the_model_only_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, how: str
) -> None:
    """Its kernel was right when it was built alone; the other records stay."""
    spec = load_target("host")
    made = planted(spec, tmp_path / "logs", {})
    (bad,) = [one for one in made if one.kernel.startswith("conv2d_add_relu")]
    build = kernels_build.build_kernel

    def planting(*arguments: Any, outcome: ScheduleOutcome, **options: Any) -> CompiledKernel:
        kernel = build(*arguments, outcome=outcome, **options)
        return with_body(kernel, body) if outcome.name == bad.id else kernel

    monkeypatch.setattr(kernels_build, "build_kernel", planting)
    monkeypatch.setattr(model_builds, "_LEAST_S", 3.0)
    monkeypatch.setattr(model_builds, "_RUNS_S", 0.2)
    result = accept(loaded(conv_net_model()), spec, tmp_path / "logs", threads=1)
    reasons = {rejection.record.id: rejection.reason for rejection in result.rejected}
    assert reasons[bad.id].startswith(f"with it model {how}"), reasons
    assert set(reasons) == {bad.id}, reasons
    assert names(result.accepted) == {one.workload for one in made} - {bad.workload}
    assert result.times is not None


@pytest.mark.slow
def test_a_model_that_crashes_without_records_is_no_fault_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_target("host")
    planted(spec, tmp_path / "logs", {})
    build = kernels_build.build_kernel

    def planting(*arguments: Any, **options: Any) -> CompiledKernel:
        return with_body(build(*arguments, **options), "__builtin_trap();")

    monkeypatch.setattr(kernels_build, "build_kernel", planting)
    with pytest.raises(NotRunnableError, match="model without records crashes") as caught:
        accept(loaded(conv_net_model()), spec, tmp_path / "logs", threads=1)
    assert "no record is to blame" in str(caught.value)


@pytest.mark.slow
def test_model_that_does_not_fit_without_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_target("host")
    made = planted(spec, tmp_path / "logs", {})
    real = compile_model

    def refused_without(model: Model, **options: Any) -> Artifact:
        if options["records"] is None:
            raise LimitError("too slow", why="the limit latency_us is 1", fix="raise it")
        return real(model, **options)

    monkeypatch.setattr(model_builds, "compile_model", refused_without)
    result = accept(loaded(conv_net_model()), spec, tmp_path / "logs", threads=1)
    assert len(result.accepted) == len(made)
    assert (result.rejected, result.times) == ((), None)
    assert result.reason == "the limits do not admit the model without them"


@pytest.mark.slow
def test_model_that_drawn_inputs_do_not_exercise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not verified with records either, and its records are not to blame."""
    spec = load_target("host")
    planted(spec, tmp_path / "logs", {})
    checked = []

    def not_exercised(_: ModelProcess, folder: Path, **__: Any) -> Any:
        checked.append(folder)
        raise VerificationError("output y is constant", why="nothing shows", fix="--inputs")

    monkeypatch.setattr(ModelProcess, "check", not_exercised)
    result = accept(loaded(conv_net_model()), spec, tmp_path / "logs", threads=1)
    assert len(checked) == 1  # the build without records
    assert result.times is not None
    assert "onnxruntime" not in "".join(rejection.reason for rejection in result.rejected)


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
def test_a_record_that_no_longer_fits_is_rejected(tmp_path: Path) -> None:
    """Without a schedule a whole padded image is scratch: more RAM than the limit."""
    spec = load_target("cortex-m4f")
    model = loaded(conv_net_model())
    without = compile_model(model, target=spec, output=tmp_path / "old", verify="skip")
    limit = without.manifest.memory.arena_bytes
    spec = with_limits(spec, {"ram_bytes": limit + 512})
    made = planted(spec, tmp_path / "logs", {"conv2d_add_relu": NO_TRACE})
    result = accept(model, spec, tmp_path / "logs")
    (large,) = [one for one in made if one.trace == NO_TRACE]
    reasons = {rejection.record.id: rejection.reason for rejection in result.rejected}
    assert "bytes of RAM" in reasons[large.id], reasons
    assert result.times is not None
    assert result.times.unit == "instructions"
    assert result.times.new <= result.times.old
