"""Which inputs a kernel may overwrite with its output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import helper
from tvm import te
from tvm.tirx import PrimFunc

from compiler.kernels.in_place import in_place_pairs
from compiler.scheduling import schedule_kernel
from tests.lowered import fixed_spec, only_kernel
from tests.onnx_models import make_model, weights

X = (4, 8)


def _inputs(count: int = 1, shape: tuple[int, ...] = X) -> list[te.Tensor]:
    return [te.placeholder(shape, "float32", name=f"x{i}") for i in range(count)]


def _kernel(inputs: list[te.Tensor], *outputs: te.Tensor) -> PrimFunc:
    return te.create_prim_func([*inputs, *outputs])


def _element_wise() -> PrimFunc:
    (x,) = _inputs()
    return _kernel([x], te.compute(X, lambda i, j: x[i, j] * 2.0))


def _sum_of_two() -> PrimFunc:
    x, y = _inputs(2)
    return _kernel([x, y], te.compute(X, lambda i, j: x[i, j] + y[i, j]))


def _broadcast() -> PrimFunc:
    x, row = _inputs()[0], te.placeholder((8,), "float32", name="row")
    return _kernel([x, row], te.compute(X, lambda i, j: x[i, j] + row[j]))


def _read_twice() -> PrimFunc:
    (x,) = _inputs()
    return _kernel([x], te.compute(X, lambda i, j: x[i, j] + x[i, 0]))


def _reversed() -> PrimFunc:
    (x,) = _inputs()
    return _kernel([x], te.compute(X, lambda i, j: x[3 - i, j]))


def _transposed() -> PrimFunc:
    (x,) = _inputs(shape=(8, 8))
    return _kernel([x], te.compute((8, 8), lambda i, j: x[j, i]))


def _other_type() -> PrimFunc:
    (x,) = _inputs()
    return _kernel([x], te.compute(X, lambda i, j: x[i, j].astype("int32")))


def _two_outputs() -> PrimFunc:
    (x,) = _inputs()
    return _kernel(
        [x],
        te.compute(X, lambda i, j: x[i, j] + 1.0, name="one"),
        te.compute(X, lambda i, j: x[i, j] + 2.0, name="two"),
    )


def _read_by_an_earlier_block() -> PrimFunc:
    """The sum of a row is made before the row is written, but in a loop of its own."""
    (x,) = _inputs()
    k = te.reduce_axis((0, 8), "k")
    total = te.compute((4,), lambda i: te.sum(x[i, k], axis=k), name="total")
    return _kernel([x], te.compute(X, lambda i, j: x[i, j] / total[i], name="y"))


def _reduction_into_the_output() -> PrimFunc:
    x, y = _inputs(2, (4, 4))
    k = te.reduce_axis((0, 4), "k")
    return _kernel([x, y], te.compute((4, 4), lambda i, j: te.sum(x[i, k] * y[k, j], axis=k)))


@pytest.mark.parametrize(
    ("build", "pairs"),
    [
        (_element_wise, [(0, 0)]),
        (_sum_of_two, [(0, 0), (1, 0)]),
        (_broadcast, [(0, 0)]),  # the row is read again for every row
        (_read_twice, []),
        (_reversed, []),
        (_transposed, []),
        (_other_type, []),
        (_two_outputs, []),
        (_read_by_an_earlier_block, []),
        (_reduction_into_the_output, []),
    ],
)
def test_pairs(build: Callable[[], PrimFunc], pairs: list[tuple[int, int]]) -> None:
    func = build()
    assert (
        list(in_place_pairs(func, len(func.params) - (2 if build is _two_outputs else 1))) == pairs
    )


def test_residual_after_a_convolution_is_added_in_place() -> None:
    """Its epilogue reads each element where it writes it; the image itself is read by the sums."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "r"], ["y"], name="residual"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [1, 8, 6, 6]), "r": ("float32", [1, 8, 6, 6])},
        outputs={"y": ("float32", [1, 8, 6, 6])},
        constants={"w": weights(8, 8, 3, 3)},
    )
    func = only_kernel(model)
    count = len(func.params) - 1
    scheduled = schedule_kernel("k", func, count, fixed_spec())
    residual = [p.name for p in func.params].index("r")
    assert in_place_pairs(scheduled.func, count) == ((residual, 0),)
