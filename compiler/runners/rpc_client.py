"""TVM's RPC client, which runs in a process of its own (`rpc_process`).

It waits for boards inside C++ code and without limit, so only its process can be given up; and
nothing of TVM need be loaded where a user's program runs. The one file of the runners with TVM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from compiler.board_address import BoardAddress, split_endpoint
from compiler.errors import NotRunnableError
from compiler.runners.rpc_messages import (
    Argument,
    BoardBlock,
    CallResult,
    KeptBlock,
    Refusal,
    Request,
)

if TYPE_CHECKING:
    from tvm import rpc

_GRACE_S = 30  # the parent gives up first; this is for one that has died
_SERVER_START = "python -m tvm.exec.rpc_server"


class Client:
    """A session on a board: libraries that are loaded there, and their functions."""

    def __init__(self) -> None:
        self._address = BoardAddress()
        self._libraries: dict[str, Any] = {}
        self._kept: dict[str, list[Any]] = {}
        self._tracker: rpc.TrackerSession | None = None
        self._session: rpc.RPCSession | None = None

    def start(self) -> None:
        """Load TVM, which takes a second or more."""
        try:
            from tvm import rpc  # noqa: F401
        except ImportError as cause:
            raise NotRunnableError(
                "TVM is not installed here",
                why=f"a board is reached with TVM's RPC client: {cause}",
                fix="pip install tunesmith, whole",
            ) from cause

    def reach(self, address: BoardAddress) -> None:
        """Look whether anything listens at the address; TVM is not needed for that."""
        self._address = address
        host, port = split_endpoint(address.endpoint) or ("", 0)
        kind, module = ("board", "server") if address.tracker is None else ("tracker", "tracker")
        try:
            socket.create_connection((host, port), timeout=address.timeout_s).close()
        except OSError as cause:
            late = isinstance(cause, TimeoutError)
            reason = f" within {address.timeout_s} s" if late else f": {cause.strerror or cause}"
            raise NotRunnableError(
                f"the {kind} at {address.endpoint} cannot be reached",
                why=f"no connection{reason}",
                fix=f"check the address, and that `python -m tvm.exec.rpc_{module}` runs there",
            ) from cause

    def ask_tracker(self) -> None:
        """Look whether the tracker, if there is one, has boards of the key."""
        from tvm import rpc

        address = self._address
        if address.tracker is None:
            return
        try:
            self._tracker = rpc.connect_tracker(*(split_endpoint(address.tracker) or ("", 0)))
            summary = self._tracker.summary()
        except (OSError, RuntimeError, ValueError) as cause:
            raise NotRunnableError(
                f"what listens at {address.tracker} is no tracker of TVM",
                why=str(cause),
                fix="give the address of `python -m tvm.exec.rpc_tracker`; a board's own server "
                "is named by `server` or --rpc",
            ) from cause
        self._require_key(summary)

    def _require_key(self, summary: Any) -> None:
        keys = {str(info["key"]).partition(":")[2] for info in summary["server_info"]}
        if self._address.device_key in keys:
            return
        known = f"its keys are: {', '.join(sorted(keys))}" if keys else "it has no boards at all"
        raise NotRunnableError(
            f"the tracker at {self._address.tracker} has no board `{self._address.device_key}`",
            why=known,
            fix=f"register the board: {_SERVER_START} --tracker {self._address.tracker} --key "
            f"{self._address.device_key}",
        )

    def connect(self) -> None:
        """Open a session: with a tracker, on the next board of the key that is free."""
        from tvm import rpc

        address = self._address
        try:
            if self._tracker is not None:
                # A second try would wait for another turn.
                self._session = self._tracker.request(address.device_key, max_retry=1)
            else:
                host, port = split_endpoint(address.endpoint) or ("", 0)
                self._session = rpc.connect(host, port, address.device_key or "")
        except (OSError, RuntimeError) as cause:
            _refuse_connection(address, str(cause))

    def load(self, path: str, name: str, machine: str) -> None:
        """Send a library to the board and load it; its file is gone from there afterwards.

        Args:
            name: of the file on the board, and what `call` knows the library by.
            machine: what it was compiled for, for the error.
        """
        session = self._session
        assert session is not None, "connect comes first"
        with self._calling("sending the library"):
            session.upload(path, name)
        try:
            with self._calling("loading the library", machine=machine):
                self._libraries[name] = session.load_module(name)
        except NotRunnableError:
            with contextlib.suppress(OSError, RuntimeError):  # as far as the board is still there
                session.remove(name)
            raise
        with self._calling("removing the library's file"):
            session.remove(name)

    def unload(self, name: str) -> None:
        """Have the board forget a library."""
        with self._calling("unloading the library"):
            del self._libraries[name]  # TVM says so to the board

    def keep(self, name: str, contents: Sequence[bytes]) -> None:
        """Send blocks that calls can name until `forget`."""
        with self._calling("sending operands"):
            self._kept[name] = [self._tensor(content) for content in contents]

    def forget(self, name: str) -> None:
        """Free the blocks of that name on the board."""
        with self._calling("freeing operands"):
            del self._kept[name]

    def call(self, library: str, function: str, arguments: Sequence[Argument]) -> CallResult:
        """Call a function of a library that is loaded."""
        with self._calling("running the library"):
            values = [self._value(argument) for argument in arguments]
            status = self._libraries[library][function](*values)
            fetched = [
                value.numpy()
                for argument, value in zip(arguments, values, strict=True)
                if isinstance(argument, BoardBlock) and argument.is_fetched
            ]
        return CallResult(status=int(status), blocks=tuple(fetched))

    def _value(self, argument: Argument) -> Any:
        """What TVM passes to the function for an argument."""
        from tvm import runtime

        assert self._session is not None, "connect comes first"
        if isinstance(argument, int):
            return argument
        if isinstance(argument, KeptBlock):
            return self._kept[argument.name][argument.number]
        if argument.content is None:
            return runtime.empty((argument.size_bytes,), "uint8", self._session.cpu())
        return self._tensor(argument.content)

    def _tensor(self, content: bytes) -> Any:
        from tvm import runtime

        assert self._session is not None, "connect comes first"
        return runtime.tensor(np.frombuffer(content, np.uint8), device=self._session.cpu())

    @contextlib.contextmanager
    def _calling(self, doing: str, machine: str = "") -> Iterator[None]:
        """Make errors of TVM's client and of the board's server into refusals."""
        from tvm.error import RPCError

        try:
            yield
        except RPCError as cause:
            if machine:
                self._refuse_library(machine, cause)
            raise NotRunnableError(
                f"{self._address} failed when {doing}",
                why=_last_line(cause),
                fix="look at what its server has printed",
            ) from cause
        except AttributeError as cause:  # TVM's word for a function that is not there
            raise NotRunnableError(
                f"{self._address} has a server of another TVM",
                why=f"when {doing}: {cause}",
                fix=_same_version(),
            ) from cause
        except (OSError, RuntimeError) as cause:
            raise NotRunnableError(
                f"the connection to {self._address} was lost when {doing}",
                why=f"the server ended, the network failed, or the library crashed there "
                f"({_last_line(cause)})",
                fix="look at what the board's server has printed (it needs the same apache-tvm as "
                "here), and start it again if it ended",
            ) from cause

    def _refuse_library(self, machine: str, cause: Exception) -> NoReturn:
        theirs = self._triple()
        if theirs and theirs.partition("-")[0] != machine.partition("-")[0]:
            raise NotRunnableError(
                f"{self._address} is another machine than the library was compiled for",
                why=f"the library is for {machine}, the board's TVM for {theirs}",
                fix="name a board of that architecture, or compile for the board's",
            ) from cause
        raise NotRunnableError(
            f"{self._address} cannot load the library",
            why=f"it was compiled for {machine}, and the board says: {_last_line(cause)}",
            fix="name a board of that architecture and system; where only the C library is older, "
            "choose its version in the target's [toolchain]",
        ) from cause

    def _triple(self) -> str:
        """What the board's TVM was compiled for; empty if it has no LLVM to say so."""
        assert self._session is not None, "a library was refused"
        try:
            return str(self._session.get_function("target.llvm_get_system_triple")())
        except (AttributeError, OSError, RuntimeError):
            return ""


def _refuse_connection(address: BoardAddress, said: str) -> NoReturn:
    """Raise the error for what TVM's client says of a connection that was not made."""
    if "protocol version mismatch" in said or "protocol=" in said:
        raise NotRunnableError(
            f"{address} has a server of another TVM", why=_last_line(said), fix=_same_version()
        )
    if "matches key" in said:
        raise NotRunnableError(
            f"{address} has another key than {address.device_key or 'none'}",
            why="a server that was started with --key wants its clients to name it",
            fix="give the key as `device_key` or --rpc-key",
        )
    if "not TVM RPC server" in said:
        raise NotRunnableError(
            f"what listens at {address.endpoint} is no RPC server of TVM",
            why=_last_line(said),
            fix=f"give the address of `{_SERVER_START}`; a tracker is named by `tracker` or "
            "--rpc-tracker",
        )
    raise NotRunnableError(
        f"{address} does not take the connection",
        why=_last_line(said),
        fix=f"check that `{_SERVER_START}` runs there, of the same TVM as here, and that this "
        "machine can reach it",
    )


def _same_version() -> str:
    import tvm

    return f"install apache-tvm {tvm.__version__} on the board, as it is here"


def _last_line(said: object) -> str:
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def serve(file_number: int) -> None:
    """Answer requests until the other end is closed. Runs in the client's process."""
    os.dup2(2, 1)  # TVM prints now and then: not among a command's results
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle: it ends this process
    client = Client()
    with Connection(file_number) as connection, contextlib.suppress(EOFError, OSError):
        while True:
            request: Request = connection.recv()
            signal.alarm(request.timeout_s + _GRACE_S)
            connection.send(_answer(client, request))
            signal.alarm(0)
    sys.stderr.flush()
    # A session whose board is lost cannot be closed: TVM would say so, at length.
    os._exit(0)


def _answer(client: Client, request: Request) -> Any:
    try:
        return getattr(client, request.method)(*request.arguments)
    except NotRunnableError as refusal:
        return Refusal(what=refusal.what, why=refusal.why, fix=refusal.fix)
