"""The other side of `worker_process`: what runs in a worker."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections.abc import Callable
from typing import IO, Any

from compiler.errors import CompilerError
from compiler.tuner.worker_process import LENGTH, WorkerSettings


def serve(prepare: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Answer requests until there are no more, or the process that asks is gone.

    Args:
        prepare: from the setup to what answers a request. An exception ends the process.
    """
    import fcntl

    # A signal ends this process and those that it started when the pipe's other end is closed,
    # also while LLVM or a kernel runs and no line of Python does.
    life = int(sys.argv[2])
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:
        return  # it was closed before
    # Libraries print to standard output now and then: answers go where they cannot.
    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(os.dup(0), "rb") as requests:
        os.dup2(2, 1)
        _serve(requests, answers, prepare)


def with_errors(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that gives a `CompilerError` in place of raising it: see `raised`."""

    def answer_or_error(request: Any) -> Any:
        try:
            return answer(request)
        except CompilerError as failure:
            return failure

    return answer_or_error


def _serve(
    requests: IO[bytes], answers: IO[bytes], prepare: Callable[[Any], Callable[[Any], Any]]
) -> None:
    settings = _receive(requests)
    assert isinstance(settings, WorkerSettings)
    if settings.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings.cpus)
    os.nice(settings.nice)
    answer = prepare(settings.setup)
    _send(answers, None)  # ready
    while (request := _receive(requests)) is not None:
        _send(answers, answer(request))


def _receive(requests: IO[bytes]) -> Any:
    """The next request; None at the end."""
    head = requests.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    return pickle.loads(requests.read(length))


def _send(answers: IO[bytes], answer: Any) -> None:
    content = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    answers.write(LENGTH.pack(len(content)) + content)
    answers.flush()
