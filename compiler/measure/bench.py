"""Time models on our library and on its peers, in turn, on the same cores and inputs."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from compiler.array_files import write_arrays
from compiler.board_address import BoardAddress
from compiler.errors import InputError, LimitError, ToolchainError
from compiler.measure.bench_result import (
    OURS,
    UNTUNED,
    BenchResult,
    EngineTiming,
    ModelTiming,
)
from compiler.measure.engine_process import EngineProcess, EngineRequest
from compiler.onnx_import.model import Weights
from compiler.runners.open_runner import open_runner
from compiler.runners.runner import Runner
from compiler.target_spec import Precision, TargetSpec, load_target
from compiler.version import VERSION

OTHERS = ("onnxruntime", "openvino")
PEERS = (*OTHERS, UNTUNED)
DEFAULT_RUNS = 50
# Engines take turns, so that a machine that slows down or gets busy slows all of them.
ROUNDS = 5
# After another engine's turn, caches and branch predictors know nothing of this one.
WARM_UP_RUNS = 3
# Worker threads of the engine before may still be spinning; they sleep after a few milliseconds.
PAUSE_BETWEEN_TURNS_S = 0.03

Report = Callable[[str], None]
Shapes = Mapping[str, tuple[int, ...]] | None
Values = Mapping[str, float | int | bool] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Conditions:
    target: TargetSpec
    threads: int
    runs: int
    cpus: tuple[int, ...]
    verify: bool
    precision: Precision
    weights: Weights
    records: str | Path | None


def bench(
    models: Sequence[str | Path],
    *,
    target: str = "host",
    against: Sequence[str] = ("onnxruntime",),
    threads: int = 1,
    runs: int = DEFAULT_RUNS,
    shapes: Shapes = None,
    values: Values = None,
    verify: bool = False,
    board: BoardAddress | None = None,
    precision: Precision = "float32",
    weights: Weights = "model",
    records: str | Path | None = None,
    report: Report = lambda _: None,
) -> BenchResult:
    """Compile and time each model; a peer that cannot run one is noted, not fatal.

    Args:
        against: peers, of `PEERS`.
        runs: timed calls of each engine on each model, taken over `ROUNDS` turns.
        board: time the library there instead of where the target says.
        precision, weights: of ours, as `compile` has them; peers compute as the file says.
        records: of ours; the peer "untuned" is our library without them.
        report: told what is being done.

    Raises:
        InputError: an unknown peer, or "untuned" without records.
        ToolchainError: a peer that is not installed.
        LimitError: more threads than processors.
        CompilerError: a model that cannot be compiled for the target.
    """
    for peer in against:
        _check_peer(peer, records)
    spec = load_target(target)
    if board is not None:
        spec = spec.with_board(board)
    cpus = () if spec.runner.kind == "rpc" else _processors(threads)
    conditions = _Conditions(
        target=spec,
        threads=threads,
        runs=runs,
        cpus=cpus,
        verify=verify,
        precision=precision,
        weights=weights,
        records=records,
    )
    timed = []
    for model in models:
        with TemporaryDirectory(prefix="tunesmith-bench-") as folder:
            timed.append(
                _bench_model(
                    Path(model), Path(folder), conditions, tuple(against), shapes, values, report
                )
            )
    return BenchResult(models=tuple(timed), peers=tuple(against), settings=_settings(conditions))


def _check_peer(peer: str, records: str | Path | None) -> None:
    if peer not in PEERS:
        nearest = get_close_matches(peer, PEERS, n=1)
        raise InputError(
            f"unknown engine {peer!r}",
            why=f"models can be timed against {', '.join(PEERS)}",
            fix=f"use {nearest[0]!r}" if nearest else "use one of them",
        )
    if peer == UNTUNED:
        if records is None:
            raise InputError(
                "nothing is tuned",
                why=f"{UNTUNED!r} is our library without records, and no records were given",
                fix="name their folder (--records DIR), or leave it out of --against",
            )
        return
    if importlib.util.find_spec(peer) is None:
        raise ToolchainError(
            f"{peer} is not installed",
            why="it was asked for as an engine to compare with",
            fix="pip install 'tunesmith[bench]', or leave it out of --against",
        )


def _processors(threads: int) -> tuple[int, ...]:
    """Return the logical processors that every engine is bound to: one for each thread."""
    if not hasattr(os, "sched_getaffinity"):  # not Linux: left to the system
        return ()
    available = sorted(os.sched_getaffinity(0))
    if threads > len(available):
        raise LimitError(
            f"{threads} threads on {len(available)} processors",
            why="threads that wait for each other's processor measure the scheduler",
            fix=f"use --threads {len(available)} or less",
        )
    return tuple(available[:threads])


def _bench_model(
    path: Path,
    folder: Path,
    conditions: _Conditions,
    peers: tuple[str, ...],
    shapes: Shapes,
    values: Values,
    report: Report,
) -> ModelTiming:
    import onnx

    from compiler.onnx_import.load import load_model
    from compiler.pipeline import compile as compile_model
    from compiler.verification_inputs import draw_inputs

    report(f"{path.name}: compiling")
    model = load_model(path, shapes=shapes, values=values)
    artifact = folder / OURS
    compiled = partial(
        compile_model,
        model,
        target=conditions.target,
        threads=conditions.threads,
        verify="require" if conditions.verify else "skip",
        precision=conditions.precision,
        weights=conditions.weights,
    )
    made = compiled(output=artifact, records=conditions.records)
    macs = sum(kernel["macs"] for kernel in made.report()["kernels"])
    with open_runner(made, threads=conditions.threads) as runner:
        if runner.is_emulated:
            report(f"{path.name}: counting instructions")
            timings = count_instructions(runner, peers, draw_inputs(model, seed=0))
            return ModelTiming(model=path.stem, timings=timings, multiply_accumulates=macs)
        if runner.is_remote:
            report(f"{path.name}: measuring on the board")
            timings = time_remotely(runner, peers, draw_inputs(model, seed=0), conditions.runs)
            return ModelTiming(model=path.stem, timings=timings, multiply_accumulates=macs)
    if UNTUNED in peers:
        compiled(output=folder / UNTUNED)
    fixed = folder / "model.onnx"  # with the same shapes and values as the library has
    onnx.save(model.source, str(fixed))
    inputs = folder / "inputs.npz"
    write_arrays(inputs, draw_inputs(model, seed=0))
    requests = [
        EngineRequest(
            engine=engine,
            path=folder / engine if engine in (OURS, UNTUNED) else fixed,
            inputs=inputs,
            threads=conditions.threads,
            cpus=conditions.cpus,
        )
        for engine in (OURS, *peers)
    ]
    report(f"{path.name}: measuring")
    timings = time_engines(requests, conditions.runs)
    return ModelTiming(model=path.stem, timings=timings, multiply_accumulates=macs)


def count_instructions(
    runner: Runner, peers: Sequence[str], inputs: Mapping[str, np.ndarray]
) -> tuple[EngineTiming, ...]:
    """Return the instructions of one run of ours in an emulator, where times say nothing."""
    counted = runner.run([inputs], count=True).instruction_count
    machine = runner.machine.cpu
    ours = EngineTiming(
        engine=OURS,
        version=VERSION,
        settings={"machine": machine},
        seconds=(),
        error="" if counted else "this emulator does not count instructions",
        instruction_count=counted,
    )
    return (ours, *_not_there(peers, machine))


def time_remotely(
    runner: Runner, peers: Sequence[str], inputs: Mapping[str, np.ndarray], runs: int
) -> tuple[EngineTiming, ...]:
    """Time ours on a board, where its peers are not."""
    machine = runner.machine.cpu
    settings = {"machine": machine, "timed": "one call in C on the board, no arrays sent"}
    seconds = runner.time(inputs, runs)
    ours = EngineTiming(engine=OURS, version=VERSION, settings=settings, seconds=seconds)
    return (ours, *_not_there(peers, machine))


def _not_there(peers: Sequence[str], machine: str) -> list[EngineTiming]:
    return [
        EngineTiming(engine=peer, version="", settings={}, seconds=(), error=f"not {machine}")
        for peer in peers
    ]


def time_engines(
    requests: Sequence[EngineRequest],
    runs: int,
    *,
    start: Callable[[EngineRequest], EngineProcess] = EngineProcess,
) -> tuple[EngineTiming, ...]:
    """Time engines in turn. The first one must run; another's failure is part of the result."""
    with ExitStack() as stack:
        engines: list[EngineProcess | str] = []
        for position, request in enumerate(requests):
            try:
                engines.append(stack.enter_context(start(request)))
            except ToolchainError as error:
                if position == 0:
                    raise
                engines.append(error.why)
        seconds = _take_turns([e for e in engines if not isinstance(e, str)], runs)
    timings = []
    for request, engine in zip(requests, engines, strict=True):
        failed = isinstance(engine, str)
        timings.append(
            EngineTiming(
                engine=request.engine,
                version="" if isinstance(engine, str) else engine.version,
                settings={} if isinstance(engine, str) else engine.settings,
                seconds=() if failed else tuple(seconds.pop(0)),
                error=engine if isinstance(engine, str) else "",
            )
        )
    return tuple(timings)


def _take_turns(engines: Sequence[EngineProcess], runs: int) -> list[list[float]]:
    """Return each engine's durations; a peer waits for its pipe while another one runs."""
    seconds: list[list[float]] = [[] for _ in engines]
    rounds = min(ROUNDS, runs)
    for turn in range(rounds):
        count = runs // rounds + (turn < runs % rounds)
        for taken, engine in zip(seconds, engines, strict=True):
            time.sleep(PAUSE_BETWEEN_TURNS_S)
            taken += engine.run(count, warm_up=WARM_UP_RUNS)
    return seconds


def _settings(conditions: _Conditions) -> dict[str, Any]:
    from compiler.runners.machine import this_machine

    machine = this_machine()
    return {
        "target": conditions.target.name,
        "threads": conditions.threads,
        "processors": list(conditions.cpus),
        "runs": conditions.runs,
        "rounds": min(ROUNDS, conditions.runs),
        "warm_up_runs": WARM_UP_RUNS,
        "precision": conditions.precision,
        "weights": conditions.weights,
        "records": "none" if conditions.records is None else str(conditions.records),
        "inputs": "drawn, seed 0",
        "timed": "one call from Python with numpy arrays, outputs included",
        "cpu": machine.cpu,
        "system": machine.system,
    }
