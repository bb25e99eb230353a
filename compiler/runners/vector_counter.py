"""Which vectors the instructions of one inference use: counted by a plugin of QEMU, for AArch64.

An instruction is a *vector instruction* if it names

- a z register of SVE, as vector or as the place of a number: arithmetic, loads, stores, moves,
  comparisons, also `lasta` and `incp` of a vector. What has only predicates and numbers (`ptrue`,
  `whilelo`, `cntw`, `incw`, `ldr` of a predicate) names none; or
- a register of Advanced SIMD as a vector, of 64 or 128 bits: vector forms of arithmetic and moves
  (`v0.4s`), `ld1` to `st4`, loads and stores of q registers. Scalar floating point (`s0`, `d0`),
  its loads and stores included, names none.

Left out: cryptography, and scalar operations that read one lane (`fmul s0, s1, v2.s[0]`). The share
of z registers is the first kind's share in both. The words are told apart by the masks in
`programs/count_vectors.c`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorCounts:
    """Instructions of one inference."""

    instructions: int
    scalable: int  # that use z registers
    fixed: int  # that use vectors of Advanced SIMD

    @property
    def scalable_share(self) -> float:
        """Of all vector instructions; 0 if there are none."""
        return self.scalable / max(1, self.scalable + self.fixed)
