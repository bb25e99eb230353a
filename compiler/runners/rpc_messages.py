"""What goes between this process and the one that speaks to a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardBlock:
    """Memory on the board that a function is given."""

    size_bytes: int
    content: bytes | None = None  # sent before the call; None: whatever is there
    is_fetched: bool = False  # whether what the function left in it comes back


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptBlock:
    """Memory on the board that was sent there before, under a name."""

    name: str
    number: int  # of the blocks of that name


# What a function on the board takes.
Argument = int | BoardBlock | KeptBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A method of `rpc_client.Client`; the process that serves it ends itself some time later."""

    method: str
    arguments: tuple[Any, ...]
    timeout_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The parts of a `NotRunnableError`, in place of an answer."""

    what: str
    why: str
    fix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CallResult:
    """What a function on the board returned and left in the blocks that are fetched."""

    status: int
    blocks: tuple[np.ndarray, ...]  # [bytes] of uint8 each
