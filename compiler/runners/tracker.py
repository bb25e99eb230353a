"""Ask TVM's tracker what boards it has. Standard library only: an answer takes no second.

Source: tvm/rpc/tracker.py of TVM 0.27: a magic number each way, then texts of JSON, each behind
its length in four bytes.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compiler.board_address import split_endpoint
from compiler.errors import NotRunnableError

TRACKER_MAGIC = 0x2F271
SUMMARY = 6
_SUCCESS = 0
_MOST_BYTES = 1 << 24
_SERVER_PREFIX = "server:"
_START = "python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190"


@dataclass(frozen=True, kw_only=True, slots=True)
class FarmKey:
    """Boards of one kind. A tracker takes those that hang for free or busy, as they were."""

    key: str
    boards: int
    free: int
    waiting: int  # requests for a board of the key

    @property
    def busy(self) -> int:
        return max(0, self.boards - self.free)


@dataclass(frozen=True, kw_only=True, slots=True)
class FarmServer:
    """One board's server, by what it registered."""

    key: str
    address: str  # HOST:PORT


@dataclass(frozen=True, kw_only=True, slots=True)
class Farm:
    """What a tracker has."""

    tracker: str
    keys: tuple[FarmKey, ...]  # sorted; also those that are only waited for
    servers: tuple[FarmServer, ...]  # sorted

    def boards(self, key: str) -> int:
        """How many boards are registered under `key`."""
        return sum(server.key == key for server in self.servers)


def ask_tracker(tracker: str, timeout_s: float) -> Farm:
    """Return what the tracker at ``HOST:PORT`` says of itself.

    Raises:
        NotRunnableError: nothing listens there, it is no tracker, or there is no answer in time.
    """
    end = time.monotonic() + timeout_s
    with _refusals(tracker, timeout_s), _connected(tracker, timeout_s) as connection:
        connection.sendall(struct.pack("<i", TRACKER_MAGIC))
        (magic,) = struct.unpack("<i", _received(connection, 4, end))
        if magic != TRACKER_MAGIC:
            raise ValueError(f"it answers with {magic:#x}, a tracker with {TRACKER_MAGIC:#x}")
        question = json.dumps([SUMMARY]).encode()
        connection.sendall(struct.pack("<i", len(question)) + question)
        (size,) = struct.unpack("<i", _received(connection, 4, end))
        if not 0 < size <= _MOST_BYTES:
            raise ValueError(f"an answer of {size} bytes")
        status, summary = json.loads(_received(connection, size, end))
        if status != _SUCCESS:
            raise ValueError(f"it answers with status {status}")
        return _farm(tracker, summary)


def _farm(tracker: str, summary: Mapping[str, Any]) -> Farm:
    servers = [
        FarmServer(
            key=str(info["key"]).removeprefix(_SERVER_PREFIX),
            address=":".join(map(str, info["addr"])),
        )
        for info in summary["server_info"]
    ]
    queues = summary["queue_info"]
    keys = sorted({*queues, *(server.key for server in servers)})
    return Farm(
        tracker=tracker,
        keys=tuple(
            FarmKey(
                key=key,
                boards=sum(server.key == key for server in servers),
                free=int(queues.get(key, {}).get("free", 0)),
                waiting=int(queues.get(key, {}).get("pending", 0)),
            )
            for key in keys
        ),
        servers=tuple(sorted(servers, key=lambda server: (server.key, server.address))),
    )


@contextmanager
def _connected(tracker: str, timeout_s: float) -> Iterator[socket.socket]:
    try:
        connection = socket.create_connection(split_endpoint(tracker) or ("", 0), timeout_s)
    except OSError as cause:
        late = isinstance(cause, TimeoutError)
        reason = f" within {timeout_s:g} s" if late else f": {cause.strerror or cause}"
        raise NotRunnableError(
            f"the tracker at {tracker} cannot be reached",
            why=f"no connection{reason}",
            fix=f"check the address, or start a tracker there: {_START}",
        ) from cause
    with connection:
        yield connection


def _received(connection: socket.socket, size: int, end: float) -> bytes:
    """Return exactly `size` bytes, all there before the clock says `end`."""
    content = b""
    while len(content) < size:
        connection.settimeout(max(end - time.monotonic(), 1e-3))
        part = connection.recv(min(size - len(content), 1 << 16))
        if not part:
            raise ValueError("it closes the connection")
        content += part
    return content


@contextmanager
def _refusals(tracker: str, timeout_s: float) -> Iterator[None]:
    """Make what goes wrong after the connection into refusals."""
    try:
        yield
    except TimeoutError as cause:
        raise NotRunnableError(
            f"the tracker at {tracker} did not answer within {timeout_s:g} s",
            why="it hangs, the network is slow, or what listens there is no tracker",
            fix="try again, or start the tracker again if that does not help",
        ) from cause
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as cause:
        raise NotRunnableError(
            f"what listens at {tracker} is no tracker of TVM 0.27",
            why=f"{type(cause).__name__}: {cause}",
            fix="give the address of `python -m tvm.exec.rpc_tracker`; a board's own server has "
            "another one",
        ) from cause
