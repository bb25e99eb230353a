"""Who has memory for a model's inputs and outputs, and where that may be the arena."""

from __future__ import annotations

from compiler.errors import TargetError
from compiler.program import IoMemory
from compiler.target_spec import TargetSpec, available_targets, load_target

_FAMILY = "mcu"


def require_io_memory(spec: TargetSpec, io_memory: IoMemory) -> None:
    """Refuse inputs and outputs in an arena that the caller does not own.

    Raises:
        TargetError: it names the targets whose arenas are the caller's.
    """
    if io_memory == "caller" or spec.family == _FAMILY:
        return
    names = (name for name in available_targets() if name != "host")
    boards = [name for name in names if load_target(name).family == _FAMILY]
    raise TargetError(
        f"target {spec.name} has no --io-memory {io_memory}",
        why="a session owns its arena and hands it to nobody; only on microcontrollers is the "
        "arena the caller's",
        fix=f"leave out --io-memory, or choose one of: {', '.join(boards)}",
    )
