"""An engine in a process of its own, asked for runs over a pipe.

Requests and answers are lines of JSON. Between requests the process waits in a read and uses no
processor time, so that engines can be measured in turn on the same cores.

    {"engine": NAME, "path": FILE, "inputs": FILE, "threads": N, "cpus": [..]}  first line
        -> {"version": V, "settings": {..}}
    {"runs": N, "warm_up": M}   -> {"seconds": [..]}
    end of input                -> the process ends
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from compiler.errors import ToolchainError

# Compiling and first runs take seconds; a large model's loading in OpenVINO up to a minute.
END_TIMEOUT_S = 10
_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path.insert(0, sys.argv[1]); from {module} import serve; serve()"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRequest:
    """Which engine, on what."""

    engine: str
    path: Path  # an artifact for tunesmith, an ONNX file for its peers
    inputs: Path  # .npz, arrays in the model's order
    threads: int
    cpus: tuple[int, ...]  # logical processors to run on; empty: as the system decides


class EngineProcess:
    """A resident process with one engine and one model loaded."""

    def __init__(self, request: EngineRequest) -> None:
        self._engine = request.engine
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(module=__name__), str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            answer = self._ask(
                {
                    "engine": request.engine,
                    "path": str(request.path),
                    "inputs": str(request.inputs),
                    "threads": request.threads,
                    "cpus": list(request.cpus),
                }
            )
        except BaseException:
            self.close()
            raise
        self.version = str(answer["version"])
        self.settings: dict[str, str] = answer["settings"]

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, runs: int, *, warm_up: int) -> list[float]:
        """Return the duration of each of ``runs`` calls, in seconds; warm-up calls come first."""
        answer = self._ask({"runs": runs, "warm_up": warm_up})
        return [float(seconds) for seconds in answer["seconds"]]

    def close(self) -> None:
        """End the process; one that does not end by itself is killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(OSError):  # it has died: read the empty line below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            status = self._process.wait(END_TIMEOUT_S)
            raise engine_error(self._engine, f"its process ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise engine_error(self._engine, answer["error"])
        return answer


def engine_error(engine: str, why: str) -> ToolchainError:
    return ToolchainError(
        f"{engine} could not run the model",
        why=why,
        fix=f"leave it out of --against, or check that {engine} works on this machine",
    )


def serve() -> None:
    """Answer requests from standard input until it ends. Runs in the engine's process."""
    # Engines print to standard output now and then: answers go where they cannot.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        try:
            _serve(sys.stdin, answers)
        except Exception as error:  # engines raise all kinds; the parent reports it
            text = str(error).strip() or type(error).__name__
            _answer(answers, {"error": text.splitlines()[0]})


def _serve(requests: IO[str], answers: IO[str]) -> None:
    from compiler.array_files import read_arrays
    from compiler.measure.engines import LOADERS

    first = json.loads(requests.readline())
    if first["cpus"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, first["cpus"])
    inputs = read_arrays(Path(first["inputs"]))
    engine = LOADERS[first["engine"]](Path(first["path"]), inputs, first["threads"])
    _answer(answers, {"version": engine.version, "settings": engine.settings})
    for line in requests:
        request = json.loads(line)
        for _ in range(request["warm_up"]):
            engine.run()
        _answer(answers, {"seconds": _times(engine.run, request["runs"])})


def _times(run: Any, count: int) -> Sequence[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _answer(answers: IO[str], document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()
