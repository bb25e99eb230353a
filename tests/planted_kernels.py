"""Kernels written in C that do what no build should do, as a build would hand them over."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from compiler.program import CompiledKernel, KernelMemory, Phase, ScheduleOutcome
from compiler.tuner.trial import KernelData

COUNT = 1000
# output = 2 * input; `work` is done for each work item, of which there are ten.
_SOURCE = """
#include <stdint.h>
#include <stdlib.h>
#include <math.h>
{before}
void planted(const float *in, float *out, {parameters} int32_t begin, int32_t end)
{{
    for (int32_t item = begin; item < end; item++) {{
        for (int32_t i = item * 100; i < item * 100 + 100; i++) {{
            out[i] = 2 * in[i];
        }}
        {work}
    }}
}}
"""


def planted(
    work: str = "",
    *,
    before: str = "",
    scratch_bytes: tuple[int, ...] = (),
    worker_scratch_bytes: int = 0,
    runtime_symbols: tuple[str, ...] = (),
) -> CompiledKernel:
    """A right kernel, but for what `work` does: `in`, `out`, `s0`.. and `own` are its pointers."""
    scratch = [f"float *s{number}, " for number in range(len(scratch_bytes))]
    parameters = "".join([*scratch, *(["float *own, "] if worker_scratch_bytes else [])])
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "planted.c"
        source.write_text(_SOURCE.format(before=before, parameters=parameters, work=work))
        flags = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-O1", "-fPIC"]
        command = ["cc", *flags, "-c", source.name, "-o", "planted.o"]
        subprocess.run(command, cwd=folder, check=True)
        code = source.with_suffix(".o").read_bytes()
    return CompiledKernel(
        name="planted",
        phases=(Phase(symbol="planted", extent=10),),
        memory=KernelMemory(scratch_bytes=scratch_bytes, worker_scratch_bytes=worker_scratch_bytes),
        schedule=ScheduleOutcome(source="record", name="planted"),
        object_code=code,
        code_bytes=len(code),
        runtime_symbols=runtime_symbols,
    )


def with_body(kernel: CompiledKernel, body: str) -> CompiledKernel:
    """The same kernel, but its functions do that, whatever they are given."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "planted.c"
        functions = [f"void {phase.symbol}(void) {{ {body} }}" for phase in kernel.phases]
        source.write_text("\n".join(functions))
        command = ["cc", "-c", "-O1", "-fPIC", source.name, "-o", "planted.o"]
        subprocess.run(command, cwd=folder, check=True)
        return replace(
            kernel, object_code=source.with_suffix(".o").read_bytes(), runtime_symbols=()
        )


def planted_data(*, macs: int = 0) -> KernelData:
    """Operands of a planted kernel and what it should make of them."""
    given = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)
    return KernelData(key="planted", inputs=(given,), expected=(2 * given,), macs=macs)
