"""Convolutions of every shape against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import helper

from tests.blocked_models import activated_model, grouped_model, parts_model
from tests.differential.agreement import EXAMPLES, Case, for_all, node_case
from tests.onnx_models import make_model, weights

# Float32 sums of at most a few hundred products of size about 1, in another order.
TOLERANCE = 1e-5

sizes = st.integers(0, 12)


@st.composite
def windows(draw: st.DrawFn, rank: int, most_taps: int = 4) -> dict[str, Any]:
    """Attributes of a sliding window over `rank` axes."""

    def each(strategy: st.SearchStrategy[int], count: int = rank) -> list[int]:
        return draw(st.lists(strategy, min_size=count, max_size=count))

    return {
        "kernel_shape": each(st.integers(1, most_taps)),
        "strides": each(st.integers(1, 3)),
        "dilations": each(st.integers(1, 2)),
        "pads": each(st.integers(0, 2), 2 * rank),  # both ends of an axis on their own
    }


@st.composite
def extents(draw: st.DrawFn, window: dict[str, Any]) -> list[int]:
    """Sizes of the axes, at least what one window needs."""
    rank = len(window["kernel_shape"])
    least = [
        dilation * (taps - 1) + 1 - before - after
        for taps, dilation, before, after in zip(
            window["kernel_shape"],
            window["dilations"],
            window["pads"][:rank],
            window["pads"][rank:],
            strict=True,
        )
    ]
    return [max(1, size) + draw(sizes) for size in least]


@st.composite
def convolutions(draw: st.DrawFn, rank: int, kind: str) -> Case:
    """A Conv with constant weights; `kind` is dense, grouped, depthwise."""
    window = draw(windows(rank))
    groups, group_in, group_out = {
        "dense": (1, draw(st.integers(1, 9)), draw(st.integers(1, 40))),
        "grouped": (draw(st.integers(2, 3)), draw(st.integers(2, 5)), draw(st.integers(1, 16))),
        "depthwise": (draw(st.integers(2, 20)), 1, draw(st.integers(1, 3))),
    }[kind]
    shape = [draw(st.integers(1, 2)), groups * group_in, *draw(extents(window))]
    filters = groups * group_out
    operands = [
        ("float32", shape),
        weights(filters, group_in, *window["kernel_shape"]),
        *([weights(filters, seed=1)] if draw(st.booleans()) else []),
    ]
    return node_case(
        "Conv",
        operands,
        tolerance=TOLERANCE,
        threads=draw(st.integers(1, 2)),
        group=groups,
        **window,
    )


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", ["dense", "grouped", "depthwise"])
@pytest.mark.parametrize("rank", [1, 2])
def test_convolution(rank: int, kind: str, examples: int) -> None:
    for_all(convolutions(rank, kind), examples)


@st.composite
def few_channel_convolutions(draw: st.DrawFn) -> Case:
    """Rows much wider than there are output channels in a group: columns are in lanes."""
    window = draw(windows(2, most_taps=7))
    if draw(st.booleans()):  # more taps than are written out
        window["kernel_shape"][1] = draw(st.integers(8, 20))
    window["strides"][1] = draw(st.integers(1, 4))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    group_in, group_out = draw(st.integers(1 if groups == 1 else 2, 6)), draw(st.integers(1, 7))
    least = draw(extents(window))
    wide = least[1] + draw(st.integers(0, 90)) * window["strides"][1]
    filters = groups * group_out
    operands = [
        ("float32", [draw(st.integers(1, 2)), groups * group_in, least[0], wide]),
        weights(filters, group_in, *window["kernel_shape"]),
        *([weights(filters, seed=1)] if draw(st.booleans()) else []),
    ]
    return node_case(
        "Conv",
        operands,
        tolerance=TOLERANCE,
        threads=draw(st.integers(1, 2)),
        group=groups,
        **window,
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_few_output_channels(examples: int) -> None:
    for_all(few_channel_convolutions(), examples)


@st.composite
def blocked_groups(draw: st.DrawFn) -> Case:
    """Between two other convolutions; a group has less than a block of channels up to several."""
    groups, channels = draw(st.integers(2, 5)), draw(st.sampled_from([4, 8, 12, 16, 24, 32]))
    size, stride = draw(st.integers(3, 14)), draw(st.integers(1, 2))
    kernel = draw(st.sampled_from([1, 3, 5]))
    model = grouped_model(groups * channels, groups, size=size, stride=stride, kernel=kernel)
    text = f"{groups} groups of {channels}, {size} x {size}, kernel {kernel}, stride {stride}"
    return Case(text, model, tolerance=TOLERANCE, threads=draw(st.integers(1, 2)))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_groups_in_blocked_layout(examples: int) -> None:
    for_all(blocked_groups(), examples)


@st.composite
def activated_convolutions(draw: st.DrawFn) -> Case:
    """Sums of a row or of a span of positions are stored before exp and the like is computed."""
    kernel, stride = draw(st.sampled_from([1, 1, 3])), draw(st.integers(1, 2))
    filters, group = draw(st.sampled_from([8, 16, 40, 64])), draw(st.sampled_from([1, 1, 2]))
    size = draw(st.integers(3, 30)), draw(st.integers(3, 30))
    activation = draw(st.sampled_from(["Sigmoid", "Tanh", "Erf"]))
    model = activated_model(
        activation, filters=filters, size=size, kernel=kernel, stride=stride, group=group
    )
    text = f"{activation} of {filters} x {size}, kernel {kernel}, stride {stride}, group {group}"
    return Case(text, model, tolerance=TOLERANCE, threads=draw(st.integers(1, 2)))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_activations_of_blocked_convolutions(examples: int) -> None:
    for_all(activated_convolutions(), examples)


@st.composite
def parts_of_blocked_values(draw: st.DrawFn) -> Case:
    """A slice and a split between convolutions, at borders of blocks and inside them."""
    borders = st.sampled_from([0, 4, 6, 8, 16, 24, 32])
    begin, end = sorted(draw(st.sets(borders, min_size=2, max_size=2)))
    rows = sorted(draw(st.sets(st.integers(0, 7), min_size=2, max_size=2)))
    first = draw(st.one_of(st.just((end - begin) // 2), st.integers(1, end - begin - 1)))
    sections = [first, end - begin - first]
    model = parts_model([begin, rows[0]], [end, rows[1]], sections)
    return Case(f"{begin}:{end}, rows {rows}, {sections}", model, tolerance=TOLERANCE)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_parts_of_blocked_values(examples: int) -> None:
    for_all(parts_of_blocked_values(), examples)


@st.composite
def pointwise_convolutions(draw: st.DrawFn) -> Case:
    """1x1, no padding: positions of all rows are one row, once strides have left some out."""
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 20)), *draw(st.tuples(sizes, sizes))]
    shape[2:] = [size + 1 for size in shape[2:]]
    filters = draw(st.integers(1, 70))
    return node_case(
        "Conv",
        [("float32", shape), weights(filters, shape[1], 1, 1)],
        tolerance=TOLERANCE,
        strides=draw(st.sampled_from([[1, 1], [1, 1], [2, 2], [1, 3], [2, 1]])),
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_pointwise_convolution(examples: int) -> None:
    for_all(pointwise_convolutions(), examples)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_padding(auto_pad: str) -> None:
    operands = [("float32", [1, 3, 8, 7]), weights(5, 3, 3, 2)]
    node_case("Conv", operands, tolerance=TOLERANCE, auto_pad=auto_pad, strides=[2, 2]).check()


@pytest.mark.parametrize("shape", [[2, 3, 5, 6, 7], [1, 1, 1, 1, 1]])
def test_convolution_over_three_axes(shape: list[int]) -> None:
    operands = [("float32", shape), weights(4, shape[1], 2, 2, 3), weights(4, seed=1)]
    node_case("Conv", operands, tolerance=TOLERANCE, pads=[1, 0, 1, 0, 1, 1]).check()


@pytest.mark.parametrize("group", [1, 2])
def test_weights_computed_at_run_time(group: int) -> None:
    operands = [("float32", [1, 4, 6, 9]), ("float32", [6, 4 // group, 3, 3])]
    case = node_case("Conv", operands, tolerance=TOLERANCE, group=group, pads=[1, 1, 1, 1])
    case.check()


@st.composite
def transposed_convolutions(draw: st.DrawFn, rank: int) -> Case:
    window = draw(windows(rank, most_taps=3))
    # Less padding than a window: the result has at least one element.
    window["pads"] = [0 if taps == 1 else 1 for taps in window["kernel_shape"]] * 2
    if draw(st.booleans()):
        window["pads"] = [0] * (2 * rank)
    extra = [draw(st.integers(0, stride - 1)) for stride in window["strides"]]
    groups, group_in, group_out = (draw(st.integers(1, 3)) for _ in range(3))
    shape = [draw(st.integers(1, 2)), groups * group_in]
    shape += [draw(st.integers(2, 8)) for _ in range(rank)]
    operands = [
        ("float32", shape),
        weights(groups * group_in, group_out, *window["kernel_shape"]),
        *([weights(groups * group_out, seed=1)] if draw(st.booleans()) else []),
    ]
    return node_case(
        "ConvTranspose",
        operands,
        tolerance=TOLERANCE,
        group=groups,
        output_padding=extra,
        **window,
    )


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("rank", [1, 2])
def test_transposed_convolution(rank: int, examples: int) -> None:
    for_all(transposed_convolutions(rank), examples)


@st.composite
def padded_convolutions(draw: st.DrawFn, rank: int) -> Case:
    """A Pad of zeros, also wider than the kernel, before a Conv that may pad as well."""
    window = draw(windows(rank))
    size = draw(extents(window))
    groups = draw(st.sampled_from([1, 1, 4]))
    group_out = draw(st.integers(1, 9))
    ends = [draw(st.lists(st.integers(0, 5), min_size=rank, max_size=rank)) for _ in range(2)]
    amounts = [0, 0, *ends[0], 0, 0, *ends[1]]
    nodes = [
        helper.make_node("Pad", ["x", "amounts"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"], group=groups, **window),
    ]
    weight = weights(groups * group_out, 8 // groups, *window["kernel_shape"])
    model = make_model(
        nodes,
        inputs={"x": ("float32", [1, 8, *size])},
        outputs={"y": ("float32", [None] * (rank + 2))},
        constants={"amounts": np.array(amounts, np.int64), "w": weight},
    )
    return Case(f"Pad {amounts}, Conv {size} {window}", model, tolerance=TOLERANCE)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("rank", [1, 2])
def test_padding_by_a_node_of_its_own(rank: int, examples: int) -> None:
    for_all(padded_convolutions(rank), examples)
