"""Which inputs a kernel may overwrite with its output."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import tvm
from onnx import helper
from tvm import s_tir, te
from tvm.tirx import PrimFunc

from compiler.kernels.build import lower_kernel
from compiler.kernels.in_place import in_place_pairs
from compiler.scheduling import schedule_kernel
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
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


def _to(dtype: str, from_dtype: str = "float32", shape: tuple[int, ...] = X) -> PrimFunc:
    x = te.placeholder(shape, from_dtype, name="x0")
    return _kernel([x], te.compute(shape, lambda *i: x[i].astype(dtype), name="y"))


def _scheduled(change: Callable[[s_tir.Schedule, list[object]], None]) -> PrimFunc:
    """Floats made bytes, [4, 8], in a nest that `change` was given the loops of."""
    sch = s_tir.Schedule(_to("int8"))
    change(sch, sch.get_loops(sch.get_sblock("y")))
    return sch.mod["main"]


def _fused(sch: s_tir.Schedule, loops: list[object]) -> None:
    """Vectors that neither rows nor all elements are a multiple of."""
    outer, inner = sch.split(sch.fuse(*loops), factors=[None, 5])
    sch.parallel(outer)
    sch.vectorize(inner)


def _columns_first(sch: s_tir.Schedule, loops: list[object]) -> None:
    sch.reorder(loops[1], loops[0])


def _tiles(sch: s_tir.Schedule, loops: list[object]) -> None:
    outer, inner = sch.split(loops[1], factors=[2, 4])
    sch.reorder(outer, loops[0], inner)


def _vectors_of_rows(sch: s_tir.Schedule, loops: list[object]) -> None:
    sch.vectorize(loops[0])


@pytest.mark.parametrize(
    ("func", "pairs"),
    [
        (_to("int8"), [(0, 0)]),
        (_to("bool"), [(0, 0)]),
        (_to("uint8", "int64", (3, 1, 7, 5)), [(0, 0)]),
        (_to("int8", shape=(1,)), [(0, 0)]),
        (_to("int8", shape=()), [(0, 0)]),
        (_to("int32"), []),  # as wide: C's compilers take it for granted that types lie apart
        (_to("float16"), []),
        (_to("float32", "int8"), []),  # grows: a number would lie over ones not yet read
        (_scheduled(_fused), [(0, 0)]),
        (_scheduled(_columns_first), []),
        (_scheduled(_tiles), []),
        (_scheduled(_vectors_of_rows), []),
        (_reversed(), []),
        (_element_wise(), [(0, 0)]),
    ],
)
def test_pairs_of_work_items_in_order(func: PrimFunc, pairs: list[tuple[int, int]]) -> None:
    assert list(in_place_pairs(func, 1, in_order=True)) == pairs


def test_bytes_are_not_written_over_floats_in_any_order() -> None:
    assert in_place_pairs(_to("int8"), 1) == ()


def _read_ahead() -> PrimFunc:
    (x,) = _inputs()
    return _kernel([x], te.compute(X, lambda i, j: (x[i, j] + x[3 - i, j]).astype("int8")))


def test_bytes_are_not_written_over_what_is_read_elsewhere() -> None:
    assert in_place_pairs(_read_ahead(), 1, in_order=True) == ()


@pytest.mark.parametrize("in_order", [False, True])
def test_llvm_knows_that_bytes_may_lie_over_floats(in_order: bool) -> None:
    """Loads and stores are of one class of types only where one may lie over the other."""
    target = tvm_target(load_target("cortex-m55"))
    kernel = lower_kernel(
        _scheduled(_fused), name="k", input_count=1, target=target, in_order=in_order
    )
    assert kernel.memory.in_place == (((0, 0),) if in_order else ())
    code = tvm.get_global_func("target.build.llvm")(kernel.functions, target).inspect_source("ll")
    accesses = [line for line in code.splitlines() if re.search(r"load.* float|store.* i8", line)]
    classes = {re.search(r"!tbaa (!\d+)", line)[1] for line in accesses if "!tbaa" in line}  # type: ignore[index]
    assert len(classes) == (1 if in_order else 2)
    assert ("noalias" in code.partition("@k(")[2].partition(")")[0]) != in_order


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
