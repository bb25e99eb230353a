"""Where a board is that runs TVM's RPC server. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_TIMEOUT_S = 60
_LARGEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardAddress:
    """A board's own server, or a tracker that gives the boards of one key away in turn.

    Addresses are texts ``HOST:PORT``; one of the two is given, a key always with a tracker.
    """

    server: str | None = None
    tracker: str | None = None
    device_key: str | None = None
    timeout_s: int = DEFAULT_TIMEOUT_S  # the longest that the board, or the tracker, may take

    @property
    def endpoint(self) -> str:
        """The address that is connected to first."""
        return self.server or self.tracker or ""

    def __str__(self) -> str:
        if self.tracker is not None:
            return f"board `{self.device_key}` of tracker {self.tracker}"
        return f"board {self.server}"


def split_endpoint(text: str) -> tuple[str, int] | None:
    """Return host and port of ``HOST:PORT`` (``[::1]:9090`` too), or None if it is not one."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not host or host != host.strip() or (":" in host and not bracketed):
        return None
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) <= _LARGEST_PORT:
        return None
    return host, int(port)


def address_fault(
    *, server: str | None, tracker: str | None, device_key: str | None, timeout_s: int | None
) -> tuple[str, str] | None:
    """Return what is wrong with such an address and why, or None: names are those of the keys."""
    if (server is None) == (tracker is None):
        what = "neither `server` nor `tracker`" if server is None else "`server` and `tracker`"
        return what, "a board is reached by its own server or by way of a tracker"
    for name, text in (("server", server), ("tracker", tracker)):
        if text is not None and split_endpoint(text) is None:
            return f"`{name}` {text!r}", "an address is HOST:PORT, such as 192.168.1.20:9090"
    if tracker is not None and not device_key:
        return "`tracker` without `device_key`", "a tracker gives boards by the key of their kind"
    if device_key is not None and (not device_key or len(device_key.split()) != 1):
        return f"`device_key` {device_key!r}", "a key is one word"
    if timeout_s is not None and timeout_s < 1:
        return f"`timeout_s` {timeout_s}", "it must be at least 1"
    return None
