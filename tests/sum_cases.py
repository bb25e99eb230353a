"""One function of the runtime for integer sums, called alone in an emulator on drawn operands.

The expected sums are NumPy's in int64, from the strides that the function is given.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from compiler.artifact.link import compile_sources
from compiler.artifact.write import RUNTIME_FILES_BEHIND, RUNTIME_FUNCTION_FILES
from compiler.target_spec import load_target
from compiler.toolchain import find_toolchain, run_tool, static_program_command

RUNTIME = Path(str(files("compiler.artifact") / "runtime"))
PROGRAM = Path(__file__).parent / "c" / "sum_cases.c"
UNTOUCHED = -1_234_567_891  # in sums before a call
_PREFIX = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Operands as they lie in memory, the function's numbers, and the sums' memory afterwards."""

    inputs: np.ndarray
    weights: np.ndarray
    numbers: tuple[int, ...]
    expected: np.ndarray


def build_program(function: str, numbers: int, target: str, folder: Path) -> Path:
    """Compile the function as a library has it, with a program around it.

    Args:
        numbers: how many whole numbers it is given behind the pointers to the operands.
    """
    spec = load_target(target)
    source = RUNTIME_FUNCTION_FILES[function]
    sources = [source, *RUNTIME_FILES_BEHIND.get(source, ())]
    for name in (*sources, "runtime.h", "tunesmith.h"):
        shutil.copyfile(RUNTIME / name, folder / name)
    shutil.copyfile(PROGRAM, folder / PROGRAM.name)
    types = ", ".join(["int32_t *", "const void *", "const void *", *["int32_t"] * numbers])
    words = ", ".join(["sums", "in", "weights", *(f"n[{i}]" for i in range(numbers))])
    call = (
        "void call_function(int32_t *sums, const void *in, const void *weights, const int32_t *n)"
    )
    (folder / "glue.c").write_text(
        f'#include "runtime.h"\nTS_HIDDEN void TS_NAME({function})({types});\n'
        f"{call};\n{call}\n{{\n    TS_NAME({function})({words});\n}}\n",
        encoding="ascii",
    )
    toolchain = find_toolchain(spec.toolchain.cc)
    objects = compile_sources(
        folder,
        sources,
        prefix=_PREFIX,
        triple=spec.llvm.triple,
        toolchain=toolchain,
        build=".",
        jobs=1,
    )
    command = (*static_program_command(toolchain), "-std=c99", "-O1", f"-DNUMBERS={numbers}")
    shown = (f"-DTUNESMITH_PREFIX={_PREFIX}", "-I.", "-o", "sum_cases")
    run_tool((*command, *shown, PROGRAM.name, "glue.c", *objects), folder=folder)
    return folder / "sum_cases"


def run_cases(program: Path, cases: Sequence[Case], emulator: Sequence[str]) -> list[np.ndarray]:
    """Return the memory of each case's sums after the call."""
    given, made = program.with_name("cases"), program.with_name("sums")
    with given.open("wb") as file:
        for case in cases:
            sums = np.full(case.expected.size, UNTOUCHED, np.int32)
            operands = (sums, case.inputs, case.weights)
            head = [*(operand.nbytes for operand in operands), *case.numbers]
            file.write(np.array(head, "<i4").tobytes())
            for operand in operands:
                file.write(operand.tobytes())
    command = [*emulator, str(program), str(given), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    ends = np.cumsum([case.expected.size for case in cases])
    return np.split(np.fromfile(made, "<i4"), ends[:-1])


def drawn_integers(random: np.random.Generator, size: int, dtype: str, least: int) -> np.ndarray:
    """All integers of a type from `least` on, or only the extreme ones."""
    most = np.iinfo(dtype).max
    if random.random() < 0.5:
        return random.choice(np.array([least, most], dtype), size)
    return random.integers(least, most, size, dtype=dtype, endpoint=True)


def reach(*loops: tuple[int, int]) -> int:
    """Elements from the first to the last that nested loops (extent, stride) touch."""
    return 1 + sum((extent - 1) * stride for extent, stride in loops)


def viewed(array: np.ndarray, *loops: tuple[int, int]) -> Any:
    """The array in int64 with an axis for each loop (extent, stride in elements)."""
    shape, strides = zip(*loops, strict=True)
    wide = array.astype(np.int64)
    return as_strided(wide, shape, [stride * wide.itemsize for stride in strides])


def expected_memory(sums: np.ndarray, column_stride: int) -> np.ndarray:
    """The memory of ``sums[column, lane]``: what lies between the columns stays as it was."""
    columns, lanes = sums.shape
    memory = np.full(reach((columns, column_stride), (lanes, 1)), UNTOUCHED, np.int32)
    for column in range(columns):
        memory[column * column_stride :][:lanes] = sums[column].astype(np.int32)
    return memory
