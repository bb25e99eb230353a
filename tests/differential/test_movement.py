"""Operators that move, choose or combine elements, against onnxruntime: equal to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import helper

from tests.differential.agreement import (
    EXAMPLES,
    Case,
    Operand,
    assert_agrees,
    draw_inputs,
    for_all,
    node_case,
    run_compiled,
)
from tests.onnx_models import make_model
from tests.shuffle_models import shuffle_model

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@st.composite
def broadcast_pair(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes that broadcast: axes of 1 and missing leading axes on either side."""
    full = draw(st.lists(st.integers(1, 17), min_size=1, max_size=4))
    sides = []
    for _ in range(2):
        side = [1 if draw(st.booleans()) else size for size in full]
        sides.append(side[draw(st.integers(0, len(side))) :])
    sides[draw(st.integers(0, 1))] = full
    return sides[0], sides[1]


@st.composite
def element_wise_chains(draw: st.DrawFn) -> Case:
    """Up to five element-wise nodes, each on the one before and an input that broadcasts."""
    left, right = draw(broadcast_pair())
    inputs = {"a": ("float32", left), "b": ("float32", right)}
    nodes, last = [], "a"
    for number in range(draw(st.integers(1, 5))):
        op_type = draw(st.sampled_from(["Add", "Sub", "Mul", "Max", "Min", "Relu", "Abs", "Neg"]))
        operands = [last] if op_type in ("Relu", "Abs", "Neg") else [last, "b"]
        nodes.append(helper.make_node(op_type, operands, [f"t{number}"], name=f"n{number}"))
        last = f"t{number}"
    nodes.append(helper.make_node("Add", [last, "b"], ["y"], name="last"))
    model = make_model(nodes, inputs=inputs, outputs={"y": ("float32", None)})
    # A product and the sum after it are rounded once.
    return Case(f"{[node.op_type for node in nodes]} {left} {right}", model, tolerance=1e-6)


UNARY = (
    *("Abs", "Asinh", "Atan", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *("HardSigmoid", "HardSwish", "IsNaN", "LeakyRelu", "Mish", "Not", "Reciprocal", "Round"),
    *("Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh"),
)


@pytest.mark.parametrize("op_type", UNARY)
def test_function_of_one_operand(op_type: str) -> None:
    dtype = "bool" if op_type == "Not" else "float32"
    result = "bool" if op_type in ("Not", "IsNaN") else "float32"
    # Not the same polynomials as onnxruntime's: a few units in the last place.
    case = node_case(op_type, [(dtype, [3, 37])], results=[result], tolerance=2e-6, opset=20)
    case.check()


@st.composite
def comparisons(draw: st.DrawFn) -> Case:
    left, right = draw(broadcast_pair())
    op_type = draw(st.sampled_from(["Equal", "Less", "GreaterOrEqual", "And", "Xor"]))
    dtype = "bool" if op_type in ("And", "Xor") else "int32"
    return node_case(op_type, [(dtype, left), (dtype, right)], results=["bool"])


@st.composite
def choices(draw: st.DrawFn) -> Case:
    left, right = draw(broadcast_pair())
    return node_case("Where", [("bool", right), ("float32", left), ("float32", right)])


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    order = draw(st.permutations(range(len(shape))))
    dtype = draw(st.sampled_from(["float32", "int8", "int64", "bool", "float16"]))
    return node_case("Transpose", [(dtype, shape)], results=[dtype], perm=order)


@st.composite
def concatenations(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for size in draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)):
        part = list(shape)
        part[axis] = size
        parts.append(("float32", part))
    return node_case("Concat", parts, axis=axis)


@st.composite
def slices(draw: st.DrawFn) -> Case:
    """Any bounds that leave something, negative ones and steps among them."""
    shape = draw(shapes)
    axes = sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis]
        first, last = sorted((draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))))
        step = draw(st.sampled_from([1, 2, -1, -3]))
        if step > 0:
            starts.append(first - size if draw(st.booleans()) else first)
            ends.append(draw(st.sampled_from([last + 1, 2**62 if last == size - 1 else last + 1])))
        else:
            starts.append(last)
            ends.append(first - 1 if first else -(2**62))
        steps.append(step)
    bounds = [np.asarray(part, np.int64) for part in (starts, ends, axes, steps)]
    return node_case("Slice", [("float32", shape), *bounds])


@st.composite
def splits(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(0, len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    shape[axis] = sum(sizes)
    operands: list[Operand] = [("float32", shape), np.asarray(sizes, np.int64)]
    return node_case("Split", operands, results=["float32"] * len(sizes), axis=axis)


@st.composite
def reshapes(draw: st.DrawFn) -> Case:
    """A view, then a kernel that reads it, then another view."""
    shape = draw(shapes)
    flat = int(np.prod(shape))
    divisor = draw(st.sampled_from([d for d in range(1, flat + 1) if flat % d == 0]))
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["r"], name="reshape"),
        helper.make_node("Transpose", ["r"], ["t"], name="transpose", perm=[1, 0]),
        helper.make_node("Reshape", ["t", "flat"], ["y"], name="flatten"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", shape)},
        outputs={"y": ("float32", None)},
        constants={
            "to": np.asarray([divisor, -1], np.int64),
            "flat": np.asarray([-1], np.int64),
        },
    )
    return Case(f"{shape} as {divisor} rows, transposed", model)


@st.composite
def clips(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from(["float32", "int32", "int8", "uint8"]))
    low, high = (np.asarray(value, dtype) for value in (3, 6))
    choices_of_bounds: list[list[Operand]] = [[low], [None, high], [low, high]]
    bounds = draw(st.sampled_from(choices_of_bounds))
    return node_case("Clip", [(dtype, draw(shapes)), *bounds], results=[dtype])


@st.composite
def expansions(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    if draw(st.booleans()):
        repeats = draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
        return node_case("Tile", [("float32", shape), np.asarray(repeats, np.int64)])
    narrow = [1 if draw(st.booleans()) else size for size in shape]
    return node_case("Expand", [("float32", narrow), np.asarray([2, *shape], np.int64)])


@st.composite
def blocks_of_depth(draw: st.DrawFn) -> Case:
    block, rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        shape = [1, draw(st.integers(1, 3)), rows * block, columns * block]
        return node_case("SpaceToDepth", [("float32", shape)], blocksize=block)
    shape = [1, draw(st.integers(1, 3)) * block**2, rows, columns]
    mode = draw(st.sampled_from(["DCR", "CRD"]))
    return node_case("DepthToSpace", [("float32", shape)], blocksize=block, mode=mode)


@st.composite
def shuffles(draw: st.DrawFn) -> Case:
    groups, each = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    units, plane = draw(st.integers(1, 5)), draw(st.lists(st.integers(1, 9), max_size=3))
    channels = groups * each  # `groups` divides twice as many
    model = shuffle_model(channels=channels, groups=groups, units=units, plane=plane)
    return Case(f"{units} shuffles of {channels} channels in {groups}, planes {plane}", model)


@st.composite
def joins_and_parts(draw: st.DrawFn) -> Case:
    """Values [1, channels, 5] negated, joined and split again and again, in any order.

    Values are joined twice, in several joins, with inputs and with parts of each other.
    """
    nodes, channels = [], {"x": draw(st.integers(1, 4)), "y": draw(st.integers(1, 4))}
    inputs = {name: ("float32", [1, count, 5]) for name, count in channels.items()}
    for step in range(draw(st.integers(4, 14))):
        name, kind = f"v{step}", draw(st.sampled_from(["Neg", "Neg", "Concat", "Concat", "Split"]))
        known = st.sampled_from(sorted(channels))
        source = draw(known)
        operands = [source, *draw(st.lists(known, min_size=1, max_size=3))]
        if kind == "Concat" and sum(channels[operand] for operand in operands) < 64:
            nodes.append(helper.make_node("Concat", operands, [name], name=name, axis=1))
            channels[name] = sum(channels[operand] for operand in operands)
        elif kind == "Split" and channels[source] > 1:
            parts = [f"{name}a", f"{name}b"]
            nodes.append(
                helper.make_node("Split", [source], parts, name=name, axis=1, num_outputs=2)
            )
            first = -(-channels[source] // 2)
            channels |= {parts[0]: first, parts[1]: channels[source] - first}
        else:
            nodes.append(helper.make_node("Neg", [source], [name], name=name))
            channels[name] = channels[source]
    made = st.sampled_from(sorted(set(channels) - set(inputs)))
    outputs = draw(st.lists(made, min_size=1, max_size=4, unique=True))
    model = make_model(nodes, inputs=inputs, outputs=dict.fromkeys(outputs, ("float32", None)))
    text = ", ".join(f"{node.op_type}({','.join(node.input)})" for node in nodes)
    return Case(f"{text} of {channels}, outputs {outputs}", model)


STRATEGIES = {
    "element-wise": element_wise_chains(),
    "compare": comparisons(),
    "where": choices(),
    "transpose": transposes(),
    "concat": concatenations(),
    "slice": slices(),
    "split": splits(),
    "joins and parts": joins_and_parts(),
    "reshape": reshapes(),
    "clip": clips(),
    "expand": expansions(),
    "depth": blocks_of_depth(),
    "shuffle": shuffles(),
}


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", STRATEGIES)
def test_movement(kind: str, examples: int) -> None:
    for_all(STRATEGIES[kind], examples)


def _indices(shape: list[int], axis_size: int, dtype: str = "int64") -> np.ndarray:
    """Indices over the whole axis, negative ones among them."""
    generator = np.random.default_rng(len(shape))
    return np.asarray(generator.integers(-axis_size, axis_size, shape)).astype(dtype)


@st.composite
def gathers(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    at = draw(st.lists(st.integers(1, 4), max_size=2))
    dtype = draw(st.sampled_from(["int32", "int64"]))
    index = _indices(at, shape[axis], dtype)
    constant = draw(st.booleans())
    return node_case(
        "Gather",
        [("float32", shape), index if constant else (dtype, at)],
        inputs={} if constant else {"x1": index},
        axis=axis,
    )


@st.composite
def element_gathers(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(0, len(shape) - 1))
    at = [draw(st.integers(1, size)) for size in shape]
    index = _indices(at, shape[axis])
    return node_case(
        "GatherElements", [("float32", shape), ("int64", at)], inputs={"x1": index}, axis=axis
    )


@st.composite
def tuple_gathers(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    batch = draw(st.integers(0, min(1, len(shape) - 1)))
    depth = draw(st.integers(1, len(shape) - batch))
    leading = [*shape[:batch], draw(st.integers(1, 4))]
    columns = [_indices(leading, shape[batch + axis]) for axis in range(depth)]
    index = np.stack(columns, axis=-1)
    return node_case(
        "GatherND",
        [("float32", shape), ("int64", index.shape)],
        inputs={"x1": index},
        batch_dims=batch,
    )


@st.composite
def element_scatters(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(0, len(shape) - 1))
    at = list(shape)
    at[axis] = draw(st.integers(1, shape[axis]))
    # Each place at most once, so that the order does not matter.
    order = np.random.default_rng(0).permuted(
        np.broadcast_to(np.arange(shape[axis]), [*at[:axis], *at[axis + 1 :], shape[axis]]), axis=-1
    )
    index = np.moveaxis(order, -1, axis)[tuple(slice(size) for size in at)]
    reduction = draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    return node_case(
        "ScatterElements",
        [("float32", shape), ("int64", at), ("float32", at)],
        inputs={"x1": index - shape[axis] * draw(st.integers(0, 1))},
        threads=draw(st.integers(1, 2)),
        axis=axis,
        reduction=reduction,
    )


@st.composite
def tuple_scatters(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    depth = draw(st.integers(1, len(shape)))
    places = np.stack([axis.reshape(-1) for axis in np.indices(shape[:depth])], axis=-1)
    chosen = np.random.default_rng(0).permutation(len(places))[: draw(st.integers(1, len(places)))]
    index = places[chosen].astype(np.int64)
    return node_case(
        "ScatterND",
        [("float32", shape), ("int64", index.shape), ("float32", [len(index), *shape[depth:]])],
        inputs={"x1": index},
        reduction=draw(st.sampled_from(["none", "add", "mul", "max", "min"])),
    )


INDEXED = {
    "gather": gathers(),
    "gather-elements": element_gathers(),
    "gather-nd": tuple_gathers(),
    "scatter-elements": element_scatters(),
    "scatter-nd": tuple_scatters(),
}


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", INDEXED)
def test_indexed_movement(kind: str, examples: int) -> None:
    for_all(INDEXED[kind], examples)


FAR = np.asarray([-(2**40), -5, -1, 0, 4, 5, 2**40], np.int64)  # of 5 elements
CLAMPED = np.asarray([0, 0, 4, 0, 4, 4, 4])


def test_indices_far_outside_are_clamped() -> None:
    """Where onnxruntime stops with an error, the nearest element is read, nothing else."""
    case = node_case("Gather", [("float32", [5, 3]), ("int64", FAR.shape)])
    feed = {**draw_inputs(case.model), "x1": FAR}
    np.testing.assert_array_equal(run_compiled(case.model, feed)[0], feed["x0"][CLAMPED])


def test_index_tuples_far_outside_are_clamped() -> None:
    case = node_case("GatherND", [("float32", [5, 5]), ("int64", [len(FAR), 2])])
    feed = {**draw_inputs(case.model), "x1": np.stack([FAR, FAR[::-1]], axis=-1)}
    wanted = feed["x0"][CLAMPED, CLAMPED[::-1]]
    np.testing.assert_array_equal(run_compiled(case.model, feed)[0], wanted)


def test_writes_far_outside_go_to_the_nearest_element() -> None:
    case = node_case("ScatterND", [("float32", [5]), ("int64", [2, 1]), ("float32", [2])])
    feed = {**draw_inputs(case.model), "x1": np.asarray([[2**40], [-(2**40)]])}
    wanted = feed["x0"].copy()
    wanted[[4, 0]] = feed["x2"]
    np.testing.assert_array_equal(run_compiled(case.model, feed)[0], wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8", "bool"])
@pytest.mark.parametrize("to", ["float32", "float64", "float16", "int64", "int8", "bool"])
def test_cast(dtype: str, to: str) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    node_case("Cast", [(dtype, [3, 9])], results=[to], to=element).check()


def test_one_value_for_two_outputs() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], name="neg"),
        helper.make_node("Identity", ["a"], ["b"], name="again"),
        helper.make_node("Reshape", ["x", "flat"], ["c"], name="view of an input"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [2, 3])},
        outputs=dict.fromkeys("abc", ("float32", None)),
        constants={"flat": np.asarray([-1], np.int64)},
    )
    assert_agrees(model)
