"""A process of ours that may crash or hang: asked over pipes, killed when it takes too long.

Requests and answers are pickled objects behind their length. The process leads a group of its own,
with what it starts itself, and the whole group ends with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compiler.errors import CompilerError

LENGTH = struct.Struct("<Q")
_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path.insert(0, sys.argv[1]); from {module} import main; main()"
START_TIMEOUT_S = 120.0  # TVM's import takes 1.5 s, longer on a busy machine
_END_TIMEOUT_S = 5.0
_REASON_CHARACTERS = 200


class WorkerError(Exception):
    """A worker gives no answer; the text says why. It is dead now."""


class WorkerCrashedError(WorkerError):
    """It ended before it answered."""


class WorkerTimedOutError(WorkerError):
    """It took too long, and was killed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """First message to a worker: where it runs, and what it needs to know for all requests."""

    cpus: tuple[int, ...]  # logical processors; empty: as the system decides
    nice: int
    setup: Any


class WorkerProcess:
    """One process that runs ``main`` of a module. Use it from one thread at a time."""

    def __init__(
        self, module: str, setup: Any, *, cpus: Sequence[int] | None = None, nice: int = 0
    ) -> None:
        """Start it and wait until it is ready.

        Raises:
            WorkerError: it does not start.
        """
        life, self._life = os.pipe()  # closed by the system when this process is gone
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(module=module), str(_ROOT), str(life)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                bufsize=0,
                pass_fds=(life,),
                start_new_session=True,
            )
        finally:
            os.close(life)
        settings = WorkerSettings(cpus=tuple(cpus or ()), nice=nice, setup=setup)
        self.ask(settings, timeout_s=START_TIMEOUT_S)

    @property
    def process_id(self) -> int:
        return self._process.pid

    def ask(self, request: Any, *, timeout_s: float) -> Any:
        """Send a request and return the answer.

        Raises:
            WorkerCrashedError: the process ended.
            WorkerTimedOutError: there was no answer in time.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._send(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
            (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
            answer = pickle.loads(self._read(length, deadline))
        except TimeoutError:
            self.close()
            raise WorkerTimedOutError(f"no answer in {timeout_s:g} s") from None
        except (EOFError, OSError):
            raise WorkerCrashedError(self._end_reason()) from None
        return answer

    def kill(self) -> None:
        """End the process and what it started; may be called from any thread, `ask` then fails."""
        if self._process.returncode is None:  # else the number may be another's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process and forget it."""
        if self._life < 0:
            return
        self.kill()
        self._process.wait()
        os.close(self._life)
        self._life = -1
        for pipe in (self._process.stdin, self._process.stdout, self._messages):
            assert pipe is not None
            pipe.close()

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        view = memoryview(LENGTH.pack(len(content)) + content)
        while view:
            view = view[self._process.stdin.write(view) or 0 :]

    def _read(self, length: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        parts: list[bytes] = []
        while length > 0:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([file], [], [], left)[0]:
                raise TimeoutError
            part = os.read(file, min(length, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _wait_for_end(self) -> None:
        """Its end of a pipe closes a little before it; its number stays its own until `wait`."""
        deadline = time.monotonic() + _END_TIMEOUT_S
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                return
            time.sleep(0.005)

    def _end_reason(self) -> str:
        """How the process ended, and its last words."""
        self._wait_for_end()
        self.kill()  # what it started may live
        status = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").splitlines()
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
        self.close()
        return _ended(status) + (f": {words[:_REASON_CHARACTERS]}" if words else "")


def _ended(status: int | None) -> str:
    if status is not None and status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def raised(answer: Any) -> Any:
    """Return an answer, or raise it if it is the error that `worker_loop.with_errors` gave."""
    if isinstance(answer, CompilerError):
        raise answer
    return answer
