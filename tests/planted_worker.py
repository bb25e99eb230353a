"""A worker that does what it is told, for tests of `tuner.worker_process`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from compiler.tuner.worker_loop import serve


def main() -> None:
    serve(_prepare)


def _prepare(setup: Any) -> Callable[[Any], Any]:
    if setup == "fail":
        raise ValueError("the setup is wrong")

    def answer(request: Any) -> Any:
        word, *rest = request
        if word == "echo":
            return (setup, *rest)
        if word == "where":
            return os.sched_getaffinity(0), os.nice(0)
        if word == "print":
            print("to standard output", flush=True)
            return "printed"
        if word == "crash":
            print("last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == "child":  # a child of a child
            return subprocess.Popen(["sleep", "600"]).pid
        if word == "hang-in-c":  # holds the interpreter's lock: no thread of Python runs
            ctypes.PyDLL(None).sleep(600)
        time.sleep(600)
        return None

    return answer


def ask_and_wait() -> None:
    """Be a parent with a worker that has a child and hangs; print both process ids."""
    from compiler.tuner.worker_process import WorkerProcess

    worker = WorkerProcess("tests.planted_worker", None)
    print(worker.ask(("child",), timeout_s=60), worker.process_id, flush=True)
    worker.ask(("hang-in-c",), timeout_s=600)
