"""Kernels that are right, wrong, crash or hang, for trials on any machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compiler.program import CompiledKernel, KernelMemory, Phase, ScheduleOutcome
from compiler.target_spec import TargetSpec
from compiler.toolchain import find_toolchain, run_tool
from compiler.tuner.trial import KernelData

ITEMS = 8
GIVEN = np.arange(ITEMS, dtype=np.int32)
DATA = KernelData(key="planted", inputs=(GIVEN,), expected=(3 * GIVEN,))
RIGHT = "out[begin] = 3 * in[begin];"
# What a work item does; the outcome and what is said of it.
FAULTS = [
    ("out[begin] = 2 * in[begin];", "wrong-numbers", "7 of 8 elements are wrong; element 1"),
    ("if (begin != 7) out[begin] = 3 * in[begin];", "wrong-numbers", "element 7 is"),
    ("out[begin] = 3 * in[begin]; out[8] = 1;", "wrong-numbers", "outside"),
    ("out[-1] = out[begin] = 3 * in[begin];", "wrong-numbers", "outside its outputs"),
    ("__builtin_trap();", "crashed", "it ended with"),
    ("for (;;) { *(volatile int32_t *)out = 0; }", "timed-out", "no end within 2 s"),
]
_TEXT = """\
#include <stdint.h>
void planted(int32_t *in, int32_t *out, int32_t begin, int32_t end);
void planted(int32_t *in, int32_t *out, int32_t begin, int32_t end)
{{
    for (; begin < end; begin++) {{
        {body}
    }}
}}
"""


def planted(spec: TargetSpec, folder: Path, body: str = RIGHT) -> CompiledKernel:
    """A kernel whose work item `begin` is that C statement."""
    (folder / "planted.c").write_text(_TEXT.format(body=body))
    cc = find_toolchain(spec.toolchain.cc).cc
    pic = ("-fPIC",) if spec.is_hosted else ()
    run_tool((*cc, *pic, "-O1", "-g0", "-c", "planted.c", "-o", "planted.o"), folder=folder)
    return CompiledKernel(
        name="planted",
        phases=(Phase(symbol="planted", extent=ITEMS),),
        memory=KernelMemory(),
        schedule=ScheduleOutcome(source="rule", name="planted"),
        object_code=(folder / "planted.o").read_bytes(),
        code_bytes=0,
    )
