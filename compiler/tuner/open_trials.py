"""Which runner measures the candidates of a target, and what builds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compiler.board_address import DEFAULT_TIMEOUT_S
from compiler.target_spec import Precision, TargetSpec
from compiler.tuner.build_pool import BuildPool, LoweringOptions
from compiler.tuner.placement import Placement
from compiler.tuner.tasks import TuningError
from compiler.tuner.trial import TrialRunner

RunnerChoice = Literal["auto", "native", "emulator", "rpc"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerOptions:
    """Where candidates are measured: as the target says ("auto"), or elsewhere."""

    kind: RunnerChoice = "auto"
    tracker: str | None = None  # HOST:PORT
    key: str | None = None  # of the boards at the tracker
    timeout_s: int | None = None  # the longest that the tracker or a board may take


def open_runner(
    spec: TargetSpec, options: RunnerOptions, threads: int, placement: Placement
) -> TrialRunner:
    """Return the runner of a target's candidates.

    Raises:
        TuningError: there is none for targets of this kind, or it lacks an address.
    """
    if spec.family == "gpu":
        raise TuningError(
            f"kernels for {spec.name} cannot be measured one by one",
            why="there are runners for CPUs and microcontrollers only",
            fix="tune for another target; GPUs use the rules' own schedules",
        )
    kind = spec.runner.kind if options.kind == "auto" else options.kind
    if options.tracker is not None:
        kind = "rpc"
    if kind != "rpc" and (options.key is not None or options.timeout_s is not None):
        raise TuningError(
            f"candidates for {spec.name} go to no board",
            why=f"they are measured by the runner `{kind}`: a key of boards and a limit on their "
            "answers mean nothing there",
            fix="give --runner rpc, or leave --key and --rpc-timeout out",
        )
    if kind == "native":
        from compiler.tuner.native_runner import NativeRunner

        return NativeRunner(threads, cpus=placement.measuring)
    if kind == "emulator":
        from compiler.tuner.emulator_runner import EmulatorRunner

        return EmulatorRunner(spec)
    return _rpc_runner(spec, options)


def _rpc_runner(spec: TargetSpec, options: RunnerOptions) -> TrialRunner:
    from compiler.tuner.rpc_runner import RpcRunner

    tracker = options.tracker or spec.runner.tracker
    key = options.key or spec.runner.device_key
    if tracker is None or key is None:
        raise TuningError(
            f"boards for {spec.name} are not known",
            why="candidates go to the boards that a tracker of TVM has under a key",
            fix="give --tracker HOST:PORT and --key KEY, or both in the target's [runner]",
        )
    timeout_s = options.timeout_s or spec.runner.timeout_s or DEFAULT_TIMEOUT_S
    return RpcRunner(spec, tracker, key, timeout_s)


def open_builder(
    spec: TargetSpec, *, exact: bool, precision: Precision, jobs: int, placement: Placement
) -> BuildPool:
    """Return what builds candidates as `compile` with these options would."""
    options = LoweringOptions(exact=exact, precision=precision)
    return BuildPool(spec, options, workers=jobs, cpus=placement.building)
