"""How much of a plane small integers may be copied at once: scratch stands in the arena."""

from __future__ import annotations

from math import prod

from schedules import match
from schedules.fused import FusedSum

# What is copied together may take this part of what the kernel reads and writes.
SCRATCH_SHARE = 16


def scratch_share(kernel: FusedSum) -> int:
    """Bytes that copies of one work item may take beside what the kernel reads and writes."""
    sch = kernel.sch
    written = match.written_bytes(sch, kernel.epilogue)
    if kernel.before is None:
        return written // SCRATCH_SHARE
    read = sch.get(kernel.before).reads[0].source
    given = prod(int(extent) for extent in read.ty.shape) * match.element_bits(read) // 8
    return (given + written) // SCRATCH_SHARE
