"""The numeric contract of integer kernels in NumPy, int64, independent of the compiler.

Evaluates a QDQ graph as ARCHITECTURE.md says: what stands between dequantizers and a quantizer is
summed exactly, scaled by one float32 product, rounded half to even and saturated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf, floor, log2
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
MOVEMENTS = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Quantized:
    """``scale * (q - zero)``; scale and zero broadcast with `q`, both float64 and int64."""

    q: np.ndarray  # int64
    scale: np.ndarray
    zero: np.ndarray

    @property
    def centred(self) -> np.ndarray:
        return np.asarray(self.q - self.zero)


def float32(value: Any) -> Any:
    """Rounded to float32."""
    return np.asarray(value).astype(np.float32)


class IntegerReference:
    """Evaluates the outputs of a model by the contract."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.makers = {output: node for node in model.graph.node for output in node.output}
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The model's outputs by name."""
        self.known: dict[str, np.ndarray] = {**self.constants, **inputs}
        return {output.name: self.value(output.name) for output in self.model.graph.output}

    def value(self, name: str) -> np.ndarray:
        if name not in self.known:
            node = self.makers[name]
            if node.op_type == "DynamicQuantizeLinear":
                self.known |= zip(node.output, self._dynamic(node), strict=True)
            else:
                self.known[name] = self._made(node)
        return self.known[name]

    def _dynamic(self, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Integers, scale and zero point: each a float32 quotient, rounded half to even."""
        x = self.value(node.input[0])
        most = np.maximum(np.float32(0), x.max())
        least = np.minimum(np.float32(0), x.min())
        span = np.float32(most - least)
        scale = np.float32(span / np.float32(255)) if span else np.float32(1)
        zero = np.rint(np.clip(np.float32(0) - np.float32(least / scale), 0, 255))
        q = np.clip(np.rint(float32(x / scale)) + zero, 0, 255)
        return q.astype(np.uint8), np.asarray(scale), np.asarray(zero.astype(np.uint8))

    def _exact(self, node: onnx.NodeProto) -> np.ndarray:
        """MatMulInteger and ConvInteger: int32 sums of what is left without zero points."""
        names = [*node.input, "", ""][:4]
        none = np.zeros((), np.int64)
        given = [self.value(name).astype(np.int64) if name else none for name in names]
        data = np.asarray(given[0] - given[2])
        if node.op_type == "MatMulInteger":
            return np.asarray((data @ (given[1] - given[3])).astype(np.int32))
        zero = given[3].reshape(-1, 1, 1, 1) if given[3].ndim else given[3]
        return np.asarray(convolution(data, np.asarray(given[1] - zero), node).astype(np.int32))

    def _made(self, node: onnx.NodeProto) -> np.ndarray:
        if node.op_type == "QuantizeLinear":
            return self._quantize(node)
        if node.op_type == "DequantizeLinear":
            found = self.quantized(node.output[0])
            return np.asarray(float32(found.centred) * float32(found.scale))
        if node.op_type in MOVEMENTS:
            return self._moved(node, self.value(node.input[0]))
        if node.op_type in ("MatMulInteger", "ConvInteger"):
            return self._exact(node)
        if node.op_type == "Constant":
            return np.asarray(numpy_helper.to_array(node.attribute[0].t))
        raise AssertionError(f"no reference for {node.op_type} outside of quantizers")

    def quantized(self, name: str) -> Quantized:
        """A dequantized tensor, moved perhaps."""
        node = self.makers[name]
        if node.op_type in MOVEMENTS:
            inner = self.quantized(node.input[0])
            parts = [
                part if part.size == 1 else self._moved(node, np.broadcast_to(part, inner.q.shape))
                for part in (inner.scale, inner.zero)
            ]
            return Quantized(self._moved(node, inner.q), *parts)
        assert node.op_type == "DequantizeLinear", (name, node.op_type)
        q = self.value(node.input[0]).astype(np.int64)
        axis = attributes(node).get("axis", 1)
        scale = along(self.value(node.input[1]).astype(np.float64), q.ndim, axis)
        zero = np.zeros((), np.int64)
        if len(node.input) > 2:
            zero = along(self.value(node.input[2]).astype(np.int64), q.ndim, axis)
        return Quantized(q, scale, zero)

    def _moved(self, node: onnx.NodeProto, array: np.ndarray) -> np.ndarray:
        given = attributes(node)
        if node.op_type == "Transpose":
            return array.transpose(given.get("perm"))
        if node.op_type == "Flatten":
            axis = given.get("axis", 1)
            return array.reshape(int(np.prod(array.shape[:axis])), -1)
        if node.op_type == "Reshape":
            shape = [int(e) for e in self.value(node.input[1])]
            shape = [array.shape[i] if e == 0 else e for i, e in enumerate(shape)]
            return array.reshape(shape)
        axes = given.get("axes") or [int(a) for a in self.value(node.input[1])]
        if node.op_type == "Squeeze":
            return np.squeeze(array, tuple(axes))
        return np.expand_dims(array, tuple(axes))

    def _quantize(self, node: onnx.NodeProto) -> np.ndarray:
        scale = np.float64(self.value(node.input[1]).reshape(()))
        zero, dtype = 0, np.dtype(np.uint8)
        if len(node.input) > 2:
            dtype = self.value(node.input[2]).dtype
            zero = int(self.value(node.input[2]).reshape(()))
        target = Target(float(scale), zero, dtype)
        name, steps = node.input[0], []
        while name in self.makers and self.makers[name].op_type in (*ACTIVATIONS, *MOVEMENTS):
            steps.append(self.makers[name])
            name = steps[-1].input[0]
        steps.reverse()
        slope = None
        if steps and steps[0].op_type == "LeakyRelu":
            slope = attributes(steps[0]).get("alpha", 0.01)
        result = self._core(name, target, slope)
        for step in steps:
            if step.op_type in MOVEMENTS:
                result = self._moved(step, result)
            elif step.op_type == "Relu":
                result = np.maximum(result, target.integer(0.0))
            elif step.op_type == "Clip":
                low, high = (self.value(n) if n else None for n in [*step.input[1:], "", ""][:2])
                result = result if low is None else np.maximum(result, target.integer(float(low)))
                result = result if high is None else np.minimum(result, target.integer(float(high)))
        return target.saturated(result)

    def scaled(self, exact: Any, factor: Any) -> Any:
        """Exact integers in quanta of the result: one float32 product."""
        return float32(float32(exact) * factor)

    def quotient(self, real: Any, scale: float) -> Any:
        """Reals in quanta: one float32 division."""
        return real / np.float32(scale)

    def _core(self, name: str, target: Target, slope: float | None) -> np.ndarray:
        """Integers before activations and saturation."""
        node = self.makers.get(name)
        if node is None:  # an input of the model
            return target.rounded(self.quotient(float32(self.known[name]), target.scale))
        if node.op_type in ("Resize", "Slice", "Split"):
            part = list(node.output).index(name)
            return self._rescaled(self._picked(node, self.quantized(node.input[0]), part), target)
        if node.op_type == "Pad":
            return self._padded(node, target)
        if node.op_type == "DequantizeLinear":
            return self._rescaled(self.quantized(name), target)
        if node.op_type == "Add" and (summed := self._biased(node)) is not None:
            sums, scale, bias = summed
        elif node.op_type == "Softmax":
            axis = attributes(node).get("axis", -1)
            return self._softmax(self.quantized(node.input[0]), target, axis)
        elif node.op_type in UNARY:
            inner = self.quantized(node.input[0])
            reals = float32(float32(inner.centred) * float32(inner.scale)).astype(np.float64)
            function = UNARY[node.op_type]
            return target.rounded(float32(function(reals)) / np.float32(target.scale))
        elif node.op_type == "Concat":
            parts = [self._rescaled(self.quantized(part), target) for part in node.input]
            return np.concatenate(parts, axis=attributes(node)["axis"])
        elif node.op_type == "MaxPool":
            inner = self.quantized(node.input[0])
            pooled = windows(inner.q, node, -(2**40), ceil=False).max(axis=(-2, -1))
            return self._rescaled(Quantized(pooled, inner.scale, inner.zero), target)
        else:
            sums, scale, bias = self._sums(node, target)
        exact = sums + bias
        assert np.abs(exact).max() < 2**31
        factor = float32(scale / target.scale)
        if slope is not None:
            factor = np.where(exact < 0, float32(scale / target.scale * slope), factor)
        return target.rounded(self.scaled(exact, factor))

    def _picked(self, node: onnx.NodeProto, data: Quantized, part: int) -> Quantized:
        """Elements at other places: nearest ones by whole scales, one slice, equal parts."""
        q = data.q
        if node.op_type == "Resize":
            for axis, scale in enumerate(self.value(node.input[2])):
                q = np.repeat(q, int(scale), axis)
        elif node.op_type == "Slice":
            begin, end, axis = (int(self.value(name)[0]) for name in node.input[1:4])
            q = q.take(range(begin, end), axis)
        else:
            q = np.split(q, len(node.output), attributes(node)["axis"])[part]
        return Quantized(q, data.scale, data.zero)

    def _rescaled(self, data: Quantized, target: Target) -> np.ndarray:
        same = (float(data.scale), int(data.zero)) == (target.scale, target.zero)
        if same:
            return data.q
        factor = float32(data.scale / target.scale)
        return target.rounded(self.scaled(data.centred, factor))

    def _biased(self, node: onnx.NodeProto) -> tuple[Any, Any, Any] | None:
        """A product and a constant added to it."""
        for one, other in (node.input, reversed(list(node.input))):
            maker = self.makers.get(one)
            if maker is not None and maker.op_type == "MatMul" and self._is_constant(other):
                sums, scale, _ = self._sums(maker, None)
                return sums, scale, np.rint(self._real(other) / scale).astype(np.int64)
        return None

    def _is_constant(self, name: str) -> bool:
        node = self.makers.get(name)
        return name in self.constants or (
            node is not None
            and node.op_type == "DequantizeLinear"
            and node.input[0] in self.constants
        )

    def _real(self, name: str) -> np.ndarray:
        if name in self.constants:
            return self.constants[name].astype(np.float64)
        found = self.quantized(name)
        return np.asarray(found.centred.astype(np.float64) * found.scale)

    def _sums(self, node: onnx.NodeProto, target: Target | None) -> tuple[Any, Any, Any]:
        """Exact sums, the scale of one unit, and a bias in such units."""
        given = attributes(node)
        if node.op_type == "Conv":
            data, weight = (self.quantized(n) for n in node.input[:2])
            scale = weight.scale.reshape(-1, *[1] * (data.q.ndim - 2)) * data.scale.reshape(())
            sums = convolution(data.centred, weight.centred, node)
            return sums, scale, self._bias(node, scale)
        if node.op_type == "ConvTranspose":
            data, weight = (self.quantized(n) for n in node.input[:2])
            groups = given.get("group", 1)
            scale = np.tile(weight.scale.reshape(-1), groups) * data.scale.reshape(())
            sums = transposed_convolution(data.centred, weight.centred, node)
            return sums, scale.reshape(-1, 1, 1), self._bias(node, scale.reshape(-1, 1, 1))
        if node.op_type == "Gemm":
            data, weight = (self.quantized(n) for n in node.input[:2])
            right = weight.centred.T if given.get("transB") else weight.centred
            scale = weight.scale.reshape(-1) * data.scale.reshape(())
            return exact_product(data.centred, right), scale, self._bias(node, scale)
        if node.op_type == "MatMul":
            data, weight = (self.quantized(n) for n in node.input[:2])
            scale = np.squeeze(weight.scale) * data.scale.reshape(())
            return exact_product(data.centred, weight.centred), scale, 0
        if node.op_type in ("Add", "Sub"):
            assert target is not None
            return self._weighted(node, target)
        if node.op_type == "Mul":
            one, other = (self.quantized(n) for n in node.input)
            return one.centred * other.centred, one.scale * other.scale, 0
        data = self.quantized(node.input[0])
        if node.op_type == "AveragePool":
            inside = windows(np.ones_like(data.q), node, 0).sum(axis=(-2, -1))
            if given.get("count_include_pad"):
                inside = np.full_like(inside, int(np.prod(given["kernel_shape"])))
            return windows(data.centred, node, 0).sum(axis=(-2, -1)), data.scale / inside, 0
        if node.op_type == "GlobalAveragePool":
            axes: tuple[int, ...] = (2, 3)
        else:
            assert node.op_type == "ReduceMean", node.op_type
            axes = tuple(given.get("axes") or (int(a) for a in self.value(node.input[1])))
        count = int(np.prod([data.q.shape[a] for a in axes]))
        keep = bool(given.get("keepdims", 1))
        return data.centred.sum(axis=axes, keepdims=keep), data.scale / count, 0

    def _bias(self, node: onnx.NodeProto, scale: np.ndarray) -> Any:
        if len(node.input) < 3 or not node.input[2]:
            return 0
        return np.rint(self._real(node.input[2]).reshape(scale.shape) / scale).astype(np.int64)

    def _weighted(self, node: onnx.NodeProto, target: Target) -> tuple[Any, Any, Any]:
        """Both operands in the same small unit, a power of two of the result's quantum."""
        parts = [self.quantized(n) for n in node.input]
        ratios = [float(part.scale) / target.scale for part in parts]
        shift = floor(log2(2.0**31 / 2 / 256 / sum(ratios)))
        one, other = (
            part.centred * int(np.rint(ratio * 2.0**shift))
            for part, ratio in zip(parts, ratios, strict=True)
        )
        total = one + other if node.op_type == "Add" else one - other
        return total, 2.0**-shift * target.scale, 0

    def _padded(self, node: onnx.NodeProto, target: Target) -> np.ndarray:
        """Rescaled, then surrounded by the integer of the number around the data, or by its own."""
        data = target.saturated(self._rescaled(self.quantized(node.input[0]), target))
        width = self.value(node.input[1]).reshape(2, -1).T
        mode = attributes(node).get("mode", b"constant").decode()
        if mode != "constant":
            return np.pad(data, width, mode)  # NumPy's names are ONNX's
        real = float(self.value(node.input[2])) if len(node.input) > 2 else 0.0
        return np.pad(data, width, constant_values=target.integer(real))

    def _softmax(self, data: Quantized, target: Target, axis: int) -> np.ndarray:
        columns = data.q.shape[axis]
        bits = 30 - (columns - 1).bit_length()
        distance = data.q.max(axis=axis, keepdims=True) - data.q
        powers = np.rint(np.exp(-data.scale * distance) * 2.0**bits).astype(np.int64)
        share = float32(1.0 / target.scale) / float32(powers.sum(axis=axis, keepdims=True))
        return target.rounded(self.scaled(powers, share))


@dataclass(frozen=True)
class Target:
    """A quantizer of a whole tensor."""

    scale: float
    zero: int
    dtype: np.dtype[Any]

    def saturated(self, q: np.ndarray) -> np.ndarray:
        info = np.iinfo(self.dtype)
        return np.asarray(np.clip(q, info.min, info.max).astype(self.dtype))

    def rounded(self, scaled: Any) -> np.ndarray:
        """Saturated integers of what is counted in quanta."""
        info = np.iinfo(self.dtype)
        rounded = np.rint(np.asarray(scaled, np.float32)).astype(np.float64) + self.zero
        return np.asarray(np.clip(rounded, info.min, info.max).astype(np.int64))

    def integer(self, real: float) -> int:
        return int(self.rounded(np.float32(real) / np.float32(self.scale)))


UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "Tanh": np.tanh,
    "Exp": np.exp,
    "Erf": np.vectorize(erf, otypes=[np.float64]),
    "HardSwish": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def along(factor: np.ndarray, rank: int, axis: int) -> np.ndarray:
    if factor.size == 1:
        return factor.reshape(())
    shape = [1] * rank
    shape[axis % rank] = factor.size
    return factor.reshape(shape)


def _geometry(node: onnx.NodeProto, kernel: tuple[int, ...], size: tuple[int, ...]) -> Any:
    given = attributes(node)
    strides = given.get("strides", [1, 1])
    dilations = given.get("dilations", [1, 1])
    pads = list(given.get("pads", [0, 0, 0, 0]))
    auto = given.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        for a in (0, 1):
            reach = dilations[a] * (kernel[a] - 1) + 1
            total = max(0, (-(-size[a] // strides[a]) - 1) * strides[a] + reach - size[a])
            less, more = total // 2, total - total // 2
            pads[a], pads[a + 2] = (less, more) if auto == b"SAME_UPPER" else (more, less)
    return strides, dilations, pads


def windows(data: np.ndarray, node: onnx.NodeProto, around: int, **_: Any) -> np.ndarray:
    """``data[N, C, H, W]`` as [N, C, OH, OW, KH, KW]."""
    kernel = tuple(attributes(node)["kernel_shape"])
    return _windows(data, node, around, kernel)


def _windows(
    data: np.ndarray, node: onnx.NodeProto, around: int, kernel: tuple[int, ...]
) -> np.ndarray:
    strides, dilations, pads = _geometry(node, kernel, data.shape[2:])
    room = np.pad(
        data, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=around
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(room, reach, axis=(2, 3))
    seen = seen[:, :, :: strides[0], :: strides[1]]
    return seen[..., :: dilations[0], :: dilations[1]]


def convolution(data: np.ndarray, weight: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """Exact sums, data [N, C, H, W], weights [O, I, KH, KW], or both without H."""
    if data.ndim == 3:
        return _row_convolution(data, weight, node)
    groups = attributes(node).get("group", 1)
    seen = _windows(data, node, 0, weight.shape[2:])  # [N, C, OH, OW, KH, KW]
    batch, channels, height, width = seen.shape[:4]
    taps = channels // groups * weight.shape[2] * weight.shape[3]
    rows = seen.transpose(0, 1, 4, 5, 2, 3).reshape(batch, groups, taps, height * width)
    kernels = weight.reshape(groups, -1, taps)
    return exact_product(kernels, rows).reshape(batch, -1, height, width)


def exact_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left @ right`` of int64, by float64, which is many times faster and here as exact."""
    depth = left.shape[-1]
    assert np.abs(left).max(initial=0) * np.abs(right).max(initial=0) * depth < 2**53
    return np.asarray((left.astype(np.float64) @ right.astype(np.float64)).astype(np.int64))


def _row_convolution(data: np.ndarray, weight: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """Exact sums, data [N, C, W], weights [O, I, K], tap by tap."""
    given = attributes(node)
    groups, (stride,) = given.get("group", 1), given.get("strides", [1])
    room = np.pad(data, ((0, 0), (0, 0), tuple(given.get("pads", [0, 0]))))
    taps = weight.shape[2]
    count = (room.shape[2] - taps) // stride + 1
    parts = []
    pairs = zip(np.split(room, groups, 1), np.split(weight, groups, 0), strict=True)
    for part, kernel in pairs:
        seen = [part[:, :, k : k + stride * (count - 1) + 1 : stride] for k in range(taps)]
        products = (np.einsum("ncx,oc->nox", s, kernel[:, :, k]) for k, s in enumerate(seen))
        parts.append(sum(products))
    return np.concatenate(parts, axis=1)


def transposed_convolution(
    data: np.ndarray, weight: np.ndarray, node: onnx.NodeProto
) -> np.ndarray:
    """Exact sums: each element of the data adds its multiple of the kernel to the result."""
    given = attributes(node)
    groups, strides = given.get("group", 1), given.get("strides", [1, 1])
    pads, more = given.get("pads", [0] * 4), given.get("output_padding", [0, 0])
    batch, _, height, width = data.shape
    kernel_h, kernel_w = weight.shape[2:]
    rows = (height - 1) * strides[0] + kernel_h + more[0]
    columns = (width - 1) * strides[1] + kernel_w + more[1]
    whole = np.zeros((batch, weight.shape[1] * groups, rows, columns), np.int64)
    pairs = zip(np.split(data, groups, 1), np.split(weight, groups, 0), strict=True)
    for group, (part, kernel) in enumerate(pairs):
        first = group * weight.shape[1]
        for y in range(height):
            for x in range(width):
                at = whole[:, first : first + weight.shape[1]]
                top, left = y * strides[0], x * strides[1]
                product = np.einsum("nc,cohw->nohw", part[:, :, y, x], kernel)
                at[:, :, top : top + kernel_h, left : left + kernel_w] += product
    return whole[:, :, pads[0] : rows - pads[2], pads[1] : columns - pads[3]]
