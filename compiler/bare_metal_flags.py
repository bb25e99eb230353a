"""Flags that sources for microcontrollers are compiled with, wherever that is done."""

from __future__ import annotations

# -ffp-contract: sums take multiply-adds where the FPU has them, which strict C99 leaves out.
# Sections of their own: a linker leaves out what a firmware does not call. No debug information,
# no names of compilers: they would put paths and versions into the objects.
COMPILE_FLAGS = (
    *("-std=c99", "-O2", "-g0", "-ffp-contract=fast", "-fno-ident"),
    *("-ffunction-sections", "-fdata-sections", "-frandom-seed=0"),
)
