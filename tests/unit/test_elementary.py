"""exp, tanh, erf and sigmoid as polynomials: within their limits of the true value, and no libm."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import te

from compiler.kernels.build import build_kernel
from compiler.program import ScheduleOutcome
from compiler.scheduling import schedule_kernel
from compiler.target_spec import load_target
from compiler.toolchain import find_toolchain, run_tool
from compiler.tvm_target import tvm_target

COUNT = 1 << 18
# The function, between which numbers, and the limit in units of the last place. Below these exp and
# sigmoid are not normal numbers, which `test_vanishing` is about.
FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float, float]] = {
    "exp": (np.exp, -86.6, 88.72, 1.0),
    "tanh": (np.tanh, -12.0, 12.0, 6.0),
    "erf": (np.vectorize(erf), -5.0, 5.0, 6.0),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -86.6, 100.0, 2.5),
}
LEAST_NORMAL = 2.0**-126


# With x * sigmoid(x) and the forms of GELU: what the graph computes of x, and the true value.
GATES: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "silu": (lambda x: x * te.sigmoid(x), lambda x: x / (1 + np.exp(-x))),
    "gelu": (
        lambda x: x * (0.5 * (te.erf(x * 0.70710676908493042) + 1.0)),
        lambda x: x * 0.5 * (1 + np.vectorize(erf)(x * 0.70710676908493042)),
    ),
    "gelu, other order": (
        lambda x: (1.0 + te.erf(0.70710676908493042 * x)) * 0.5 * x,
        lambda x: x * 0.5 * (1 + np.vectorize(erf)(x * 0.70710676908493042)),
    ),
    "gelu, negated": (
        lambda x: x * (-0.5 * (te.erf(x * -0.70710676908493042) + 1.0)),
        lambda x: x * -0.5 * (1 - np.vectorize(erf)(x * 0.70710676908493042)),
    ),
    "gelu of tanh": (
        lambda x: x * (0.5 * (te.tanh((x + x * x * x * 0.044715) * 0.79788456) + 1.0)),
        lambda x: x * 0.5 * (1 + np.tanh((x + x**3 * 0.044715) * 0.79788456)),
    ),
}


def compiled(name: str, count: int, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function over `count` numbers as compiled for this machine."""
    spec = load_target("host")
    source = te.placeholder((count,), name="source")
    function = GATES[name][0] if name in GATES else getattr(te, name)
    func = te.create_prim_func([source, te.compute((count,), lambda i: function(source[i]))])
    name = "gate" if name in GATES else name
    scheduled = schedule_kernel(name, func, 1, spec)
    kernel = build_kernel(
        scheduled.func,
        name=f"kernel_{name}",
        input_count=1,
        outcome=ScheduleOutcome(source="fallback", name="test"),
        target=tvm_target(spec),
    )
    assert kernel.libm_symbols == ()
    (folder / "kernel.o").write_bytes(kernel.object_code)
    toolchain = find_toolchain()
    run_tool((*toolchain.cc, "-shared", "-o", "kernel.so", "kernel.o"), folder=folder)
    phase = ctypes.CDLL(str(folder / "kernel.so"))[kernel.phases[0].symbol]
    extent = kernel.phases[0].extent

    def run(numbers: np.ndarray) -> np.ndarray:
        results = np.zeros(count, np.float32)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (numbers, results)]
        phase(*pointers, 0, extent)
        return results

    return run


def error_ulp(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the true value, rounded to float32."""
    last_place = np.spacing(np.abs(want.astype(np.float32))).astype(np.float64)
    errors: np.ndarray = np.abs(got.astype(np.float64) - want) / last_place
    return errors


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("count", [COUNT, COUNT + 3], ids=["vectors", "ragged"])
def test_within_limits(name: str, count: int, tmp_path: Path) -> None:
    true, low, high, limit = FUNCTIONS[name]
    random = np.random.default_rng(0)
    half = count // 2
    numbers = np.concatenate(
        [random.uniform(low, high, half), random.standard_normal(count - half)]
    ).astype(np.float32)
    errors = error_ulp(compiled(name, count, tmp_path)(numbers), true(numbers.astype(np.float64)))
    worst = int(np.argmax(errors))
    assert errors[worst] <= limit, f"{errors[worst]:.2f} ulp at {numbers[worst]!r}"


@pytest.mark.parametrize("name", ["exp", "sigmoid"])
def test_vanishing(name: str, tmp_path: Path) -> None:
    """Below the normal numbers results are 0 or off by less than those are large."""
    true = FUNCTIONS[name][0]
    numbers = np.linspace(-110.0, -86.6, COUNT).astype(np.float32)
    got = compiled(name, COUNT, tmp_path)(numbers).astype(np.float64)
    assert (got >= 0).all()
    assert np.abs(got - true(numbers.astype(np.float64))).max() <= 1.5 * LEAST_NORMAL


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_never_beyond_one(name: str, tmp_path: Path) -> None:
    numbers = np.linspace(-12.0, 12.0, COUNT).astype(np.float32)
    got = compiled(name, COUNT, tmp_path)(numbers)
    assert np.abs(got).max() == 1.0
    np.testing.assert_array_equal(got, -got[::-1])


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("exp", [np.inf, 0.0, np.nan, 1.0, 1.0, np.inf, 0.0]),
        ("tanh", [1.0, -1.0, np.nan, 0.0, 0.0, 1.0, -1.0]),
        ("erf", [1.0, -1.0, np.nan, 0.0, 0.0, 1.0, -1.0]),
        ("sigmoid", [1.0, 0.0, np.nan, 0.5, 0.5, 1.0, 0.0]),
    ],
)
def test_special_numbers(name: str, want: list[float], tmp_path: Path) -> None:
    numbers = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e30, -1e30]
    count = 16  # one vector: the same code as in a long array
    padded = np.array(numbers + [0.0] * (count - len(numbers)), np.float32)
    got = compiled(name, count, tmp_path)(padded)[: len(want)]
    np.testing.assert_array_equal(got, np.array(want, np.float32))


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("count", [COUNT, COUNT + 3], ids=["vectors", "ragged"])
def test_gates_are_within_2_5e_7_of_their_argument(name: str, count: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    half = count // 2
    numbers = np.concatenate(
        [random.uniform(-30.0, 30.0, half), random.standard_normal(count - half)]
    ).astype(np.float32)
    got = compiled(name, count, tmp_path)(numbers).astype(np.float64)
    errors = np.abs(got - GATES[name][1](numbers.astype(np.float64))) / np.abs(numbers)
    worst = int(np.argmax(errors))
    assert errors[worst] <= 2.5e-7, f"{errors[worst]:.2e} of {numbers[worst]!r}"


@pytest.mark.parametrize("name", sorted(GATES.keys() - {"gelu, negated"}))
def test_gates_close_and_open(name: str, tmp_path: Path) -> None:
    numbers = np.array([-1e6, -100.0, 0.0, 100.0, 1e6, np.nan] + [0.0] * 10, np.float32)
    got = compiled(name, len(numbers), tmp_path)(numbers)[:6]
    np.testing.assert_array_equal(got, np.array([0.0, 0.0, 0.0, 100.0, 1e6, np.nan], np.float32))
