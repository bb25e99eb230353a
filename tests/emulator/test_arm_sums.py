"""Each function of the runtime for integer sums on 64-bit Arm, alone: every sum is exact.

Sizes, strides and contents are drawn, parts of vectors and the extreme integers among them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from compiler.runners.vector_length import VECTOR_BITS, emulator_command
from compiler.target_spec import load_target
from compiler.toolchain import find_toolchain, run_tool, static_program_command
from tests.sum_cases import (
    Case,
    build_program,
    drawn_integers,
    expected_memory,
    reach,
    run_cases,
    viewed,
)

CASES = 80
SPEC = load_target("neoverse-v1")
EMULATOR = SPEC.runner.command[0]


def product_case(
    random: np.random.Generator,
    *,
    lanes: tuple[int, ...],
    group: int,
    dtype: str = "int8",
    least_weight: int = -128,
    strides_of_taps: bool = True,
) -> Case:
    """Inputs that all lanes share: ``weights[y][x][chunk][lane][group]``.

    Args:
        strides_of_taps: whether the function is given strides of the weights of a tap; else it is
            given that of a chunk.
    """
    lane_count = int(random.choice(lanes))
    columns, chunks = int(random.integers(1, 31)), int(random.integers(1, 15))
    taps_y, taps_x = (int(n) for n in random.choice([1, 1, 2, 3], 2))
    if random.random() < 0.1:
        chunks = int(random.integers(80, 250))  # more than are copied at a time
    run = group * chunks
    in_x = run if random.random() < 0.5 else run + int(random.integers(1, 20))
    in_y = taps_x * in_x + int(random.integers(0, 40))
    in_column = int(random.integers(1, 3 * run))
    sums_column = lane_count + int(random.integers(0, 9))
    chunk = group * lane_count
    taken = [(taps_y, in_y), (taps_x, in_x), (chunks, group), (group, 1)]
    packed = [(taps_y, taps_x * chunks * chunk), (taps_x, chunks * chunk), (chunks, chunk)]
    packed = [*packed, (lane_count, group), (group, 1)]
    size = reach((columns, in_column), *taken)
    # Differences to a zero point are at most 255 either way.
    least, most = (-255, 255) if dtype == "int16" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    inputs = np.minimum(drawn_integers(random, size, dtype, least), np.array(most, dtype))
    weights = drawn_integers(random, reach(*packed), "int8", least_weight)
    sums = np.einsum(
        "cyxik,yxilk->cl",
        viewed(inputs, (columns, in_column), *taken),
        viewed(weights, *packed),
    )
    of_weights = (packed[0][1], packed[1][1]) if strides_of_taps else (chunk,)
    sizes = (columns, lane_count, taps_y, taps_x, chunks)
    return Case(
        inputs=inputs,
        weights=weights,
        numbers=(*sizes, sums_column, in_column, in_y, in_x, *of_weights),
        expected=expected_memory(sums, sums_column),
    )


def depthwise_case(random: np.random.Generator, *, least_weight: int = -128) -> Case:
    """Inputs that each lane has for itself: ``weights[y][x][lane]``."""
    lanes, columns = int(random.integers(1, 41)), int(random.integers(1, 30))
    taps_y, taps_x = (int(random.choice([1, 2, 3, 3, 3, 5])) for _ in "yx")
    if random.random() < 0.1:
        taps_y = 17  # more than have room on the stack
    step = int(random.choice([1, 2, 3]))
    in_x = lanes + int(random.integers(0, 9))
    in_column = step * in_x
    in_y = (step * columns + taps_x) * in_x + int(random.integers(0, 9))
    weight_x = lanes + int(random.integers(0, 9))
    weight_y = taps_x * weight_x + int(random.integers(0, 9))
    sums_column = lanes + int(random.integers(0, 9))
    taken = [(taps_y, in_y), (taps_x, in_x), (lanes, 1)]
    packed = [(taps_y, weight_y), (taps_x, weight_x), (lanes, 1)]
    inputs = drawn_integers(random, reach((columns, in_column), *taken), "int8", -128)
    weights = drawn_integers(random, reach(*packed), "int8", least_weight)
    seen = viewed(inputs, (columns, in_column), *taken)
    sums = np.einsum("cyxl,yxl->cl", seen, viewed(weights, *packed))
    strides = (sums_column, in_column, in_y, in_x, weight_y, weight_x)
    return Case(
        inputs=inputs,
        weights=weights,
        numbers=(columns, lanes, taps_y, taps_x, *strides),
        expected=expected_memory(sums, sums_column),
    )


ANY_LANES = (4, 8, 12, 20, 28, 36, 44, 60, 64)
_ANY = partial(product_case, lanes=ANY_LANES, strides_of_taps=False)
# Name -> how a case is drawn; how many numbers the function is given follows from the first.
NEON: dict[str, Callable[[np.random.Generator], Case]] = {
    "tunesmith_dot_sums": partial(product_case, lanes=(4, 8, 16), group=4),
    "tunesmith_narrow_sums": partial(product_case, lanes=(4, 8, 16), group=8, least_weight=-127),
    "tunesmith_mm_sums": partial(_ANY, group=8),
    "tunesmith_mm_unsigned_sums": partial(_ANY, group=8, dtype="uint8"),
    "tunesmith_dot_depthwise": depthwise_case,
    "tunesmith_narrow_depthwise": partial(depthwise_case, least_weight=-127),
    "tunesmith_wide_sums": partial(product_case, lanes=(4, 8, 16), group=1, dtype="int16"),
}
SCALABLE: dict[str, Callable[[np.random.Generator], Case]] = {
    "tunesmith_sve_dot_sums": partial(_ANY, group=4),
    "tunesmith_sve_dot_depthwise": depthwise_case,
    "tunesmith_sve_mm_sums": partial(_ANY, group=8),
    "tunesmith_sve_mm_unsigned_sums": partial(_ANY, group=8, dtype="uint8"),
}


def drawn(draw: Callable[[np.random.Generator], Case], seed: int) -> Iterator[Case]:
    random = np.random.default_rng(seed)
    for _ in range(CASES):
        yield draw(random)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Compile a function when it is asked for first."""

    @cache
    def program(name: str, numbers: int) -> Path:
        return build_program(name, numbers, SPEC.name, tmp_path_factory.mktemp(name))

    return program


def _needs_emulator() -> None:
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"needs {EMULATOR}")


def wrong_cases(
    name: str,
    draw: Callable[[np.random.Generator], Case],
    emulator: Sequence[str],
    programs: Callable[[str, int], Path],
) -> list[tuple[int, ...]]:
    """The numbers of cases with other sums than NumPy's."""
    _needs_emulator()
    cases = list(drawn(draw, seed=sum(name.encode())))
    program = programs(name, len(cases[0].numbers))
    made = run_cases(program, cases, emulator)
    return [c.numbers for c, sums in zip(cases, made, strict=True) if (sums != c.expected).any()]


@pytest.mark.emulator
@pytest.mark.parametrize("name", NEON)
def test_sums_in_registers_of_a_known_length(
    name: str, programs: Callable[[str, int], Path]
) -> None:
    cpu = "max" if "_mm_" in name else "neoverse-n1" if "_dot_" in name else "cortex-a53"
    assert wrong_cases(name, NEON[name], [EMULATOR, "-cpu", cpu], programs) == []


@pytest.mark.emulator
@pytest.mark.parametrize("bits", VECTOR_BITS)
@pytest.mark.parametrize("name", SCALABLE)
def test_sums_in_scalable_vectors(
    name: str, bits: int, programs: Callable[[str, int], Path]
) -> None:
    command = emulator_command(SPEC.runner.command, bits)
    assert command is not None
    assert wrong_cases(name, SCALABLE[name], command, programs) == []


@pytest.mark.emulator
@pytest.mark.parametrize("bits", VECTOR_BITS)
def test_emulated_vectors_have_the_length(bits: int, tmp_path: Path) -> None:
    source = "#include <arm_sve.h>\nint main(void) { return (int)svcntb() / 16; }\n"
    (tmp_path / "length.c").write_text(source, encoding="ascii")
    cc = static_program_command(find_toolchain(SPEC.toolchain.cc))
    run_tool((*cc, "-mcpu=generic+sve", "-o", "length", "length.c"), folder=tmp_path)
    command = emulator_command(SPEC.runner.command, bits)
    assert command is not None
    _needs_emulator()
    done = subprocess.run([*command, str(tmp_path / "length")], check=False)
    assert done.returncode == bits // 128
