"""A session on a board, held by a process of its own that can be given up."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from compiler.board_address import BoardAddress
from compiler.errors import NotRunnableError
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.rpc_messages import Argument, CallResult, Refusal, Request

_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from compiler.runners.rpc_client import serve; serve(int(sys.argv[2]))"
)
_ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 120  # Python and TVM, from a slow disk
_END_TIMEOUT_S = 5


class RpcProcess(ClosedOnExit):
    """TVM's client with one session; whatever it waits for has an end."""

    def __init__(self, board: BoardAddress) -> None:
        self._board = board
        self._connection, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(_ROOT), str(number)],
                stdin=subprocess.DEVNULL,
                pass_fds=(number,),
            )
        try:
            self._ask("reach", board, doing="being looked for", extra_s=_START_TIMEOUT_S)
            self._ask("start", doing="loading TVM", extra_s=_START_TIMEOUT_S)
            self._ask("ask_tracker", doing="saying what it has")
            self._ask("connect", doing="taking the connection")
        except BaseException:
            self.close()
            raise

    def load(self, path: Path, name: str, machine: str) -> None:
        """Send a library to the board, which loads it; no file stays there.

        Raises:
            NotRunnableError: the board cannot be reached any more or cannot load it.
        """
        self._ask("load", str(path), name, machine, doing="loading the library")

    def unload(self, name: str) -> None:
        """Have the board forget a library.

        Raises:
            NotRunnableError: the board cannot be reached any more.
        """
        self._ask("unload", name, doing="unloading the library")

    def keep(self, name: str, contents: Sequence[bytes]) -> None:
        """Send blocks that a `KeptBlock` of a call can name; none is empty.

        Raises:
            NotRunnableError: the board cannot be reached any more or has no memory.
        """
        self._ask("keep", name, tuple(contents), doing="taking operands")

    def forget(self, name: str) -> None:
        """Free the blocks of that name on the board.

        Raises:
            NotRunnableError: the board cannot be reached any more.
        """
        self._ask("forget", name, doing="freeing operands")

    def call(
        self, library: str, function: str, arguments: Sequence[Argument], *, doing: str
    ) -> CallResult:
        """Call a function of a library that is loaded, and return what it made.

        Raises:
            NotRunnableError: the board cannot be reached any more or takes too long.
        """
        result = self._ask("call", library, function, tuple(arguments), doing=doing)
        assert isinstance(result, CallResult), result
        return result

    def close(self) -> None:
        """End the session; a process that does not end by itself is killed."""
        self._connection.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, method: str, *arguments: Any, doing: str, extra_s: int = 0) -> Any:
        """Return the answer; `extra_s` is what this machine may need itself."""
        limit = self._board.timeout_s + extra_s
        request = Request(method=method, arguments=arguments, timeout_s=limit)
        with contextlib.suppress(OSError, EOFError):  # it has ended: told below
            self._connection.send(request)
            if not self._connection.poll(limit):
                self._process.kill()
                raise self._late(doing, limit)
            answer = self._connection.recv()
            if isinstance(answer, Refusal):
                raise NotRunnableError(answer.what, why=answer.why, fix=answer.fix)
            return answer
        self._process.kill()  # of no use without its pipe
        raise NotRunnableError(
            f"the process that speaks to {self._board} has ended",
            why=f"it ended with status {self._process.wait()} when {doing}",
            fix="look at what it printed above; report it if that says nothing",
        )

    def _late(self, doing: str, limit: int) -> NotRunnableError:
        if doing == "taking the connection" and self._board.tracker is not None:
            return NotRunnableError(
                f"no {self._board} was free within {limit} s",
                why="all boards of that key are in use, or one is registered that has gone",
                fix="wait, or raise `timeout_s` (--rpc-timeout); `python -m "
                "tvm.exec.query_rpc_tracker` lists boards",
            )
        return NotRunnableError(
            f"{self._board} did not answer within {limit} s ({doing})",
            why="it is in use by another client, too slow, or hangs",
            fix="try again, or raise `timeout_s` (--rpc-timeout)",
        )
