"""Processes that may crash and hang: they are asked, ended, and never left behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.errors import LimitError
from compiler.tuner.worker_process import (
    WorkerCrashedError,
    WorkerProcess,
    WorkerTimedOutError,
)

WORKER = "tests.planted_worker"
ROOT = Path(__file__).resolve().parents[2]


def is_gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # ended, and nobody has asked how


def wait_until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def test_answers_and_setup() -> None:
    worker = WorkerProcess(WORKER, {"a": 1})
    large = b"x" * 3_000_000  # more than a pipe holds
    assert worker.ask(("echo", 2, large), timeout_s=60) == ({"a": 1}, 2, large)
    assert worker.ask(("print",), timeout_s=60) == "printed"
    assert worker.ask(("echo",), timeout_s=60) == ({"a": 1},)
    worker.close()
    assert is_gone(worker.process_id)


def test_processors_and_niceness() -> None:
    cpu = min(os.sched_getaffinity(0))
    worker = WorkerProcess(WORKER, None, cpus=[cpu], nice=3)
    affinity, nice = worker.ask(("where",), timeout_s=60)
    worker.close()
    assert affinity == {cpu}
    assert nice == min(19, os.nice(0) + 3)


def test_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(LimitError("too large", why="2 of 1 bytes", fix="raise it")))
    assert type(error) is LimitError
    assert str(error) == "too large\n  why: 2 of 1 bytes\n  fix: raise it"


def test_crash_names_the_signal_and_the_last_words() -> None:
    worker = WorkerProcess(WORKER, None)
    with pytest.raises(WorkerCrashedError, match=r"^ended by SIGSEGV: last words$"):
        worker.ask(("crash",), timeout_s=60)
    assert is_gone(worker.process_id)


def test_setup_that_fails() -> None:
    with pytest.raises(WorkerCrashedError, match="ended with status 1: ValueError: the setup is"):
        WorkerProcess(WORKER, "fail")


def test_hanging_worker_is_killed_with_what_it_started() -> None:
    worker = WorkerProcess(WORKER, None)
    child = worker.ask(("child",), timeout_s=60)
    assert not is_gone(child)
    start = time.monotonic()
    with pytest.raises(WorkerTimedOutError, match=r"no answer in 0\.2 s"):
        worker.ask(("hang-in-c",), timeout_s=0.2)
    assert time.monotonic() - start < 5
    assert is_gone(worker.process_id)
    assert wait_until(lambda: is_gone(child))


def test_nothing_is_left_when_the_parent_is_killed() -> None:
    code = "from tests.planted_worker import ask_and_wait; ask_and_wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child, worker = map(int, parent.stdout.readline().split())
    time.sleep(0.2)  # until it hangs
    assert not is_gone(worker)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: is_gone(worker))
    assert wait_until(lambda: is_gone(child))
