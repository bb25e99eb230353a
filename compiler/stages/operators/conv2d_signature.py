"""What a 2-D convolution computes, and the padding that its forms share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tvm import relax, te, tirx

from schedules import roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dSignature:
    """A 2-D convolution. Data NCHW, weights OIHW; pads are top, left, bottom, right."""

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_channels and self.groups > 1

    @property
    def is_pointwise(self) -> bool:
        """A matrix product over all positions: rows need not be told apart."""
        return self.kernel == self.strides == (1, 1) and not any(self.pads)

    @property
    def is_sampled(self) -> bool:
        """Pointwise but for its strides: a matrix product over the positions that they keep."""
        return self.kernel == (1, 1) != self.strides and not any(self.pads)

    @property
    def on_samples(self) -> Conv2dSignature:
        """A sampled convolution, on the positions that it reads."""
        height, width = self.out_extent
        return replace(self, height=height, width=width, strides=(1, 1))

    @property
    def is_single_column(self) -> bool:
        """One column of data and of the kernel: its rows lie together like columns elsewhere."""
        return self.width == self.kernel[1] == 1 and self.pads[1] == self.pads[3] == 0

    @property
    def sum_extent(self) -> tuple[int, int]:
        """Rows and columns of the sums: one row where all positions can be told by one number."""
        rows, columns = self.out_extent
        one_row = self.is_pointwise or self.is_single_column
        return (1, rows * columns) if one_row else (rows, columns)

    @property
    def group_out_channels(self) -> int:
        return self.out_channels // self.groups

    @property
    def out_extent(self) -> tuple[int, int]:
        """Output height and width."""
        top, left, bottom, right = self.pads
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        return (
            (self.height + top + bottom - reach[0]) // self.strides[0] + 1,
            (self.width + left + right - reach[1]) // self.strides[1] + 1,
        )


def conv2d_signature(call: relax.Call, dtype: str = "float32") -> Conv2dSignature | None:
    """Return the signature of a ``relax.nn.conv2d`` in NCHW, None for any other call.

    Args:
        dtype: of data and weights.
    """
    attrs = call.attrs
    data, weight = call.args[0].ty, call.args[1].ty
    plain = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) == ("NCHW", "OIHW", "NCHW")
    if not plain or str(data.dtype) != dtype or str(weight.dtype) != dtype:
        return None
    batch, in_channels, height, width = (int(extent) for extent in data.shape.values)
    out_channels, _, kernel_h, kernel_w = (int(extent) for extent in weight.shape.values)
    strides, dilation = ([int(v) for v in value] for value in (attrs.strides, attrs.dilation))
    pads = [int(value) for value in attrs.padding]
    return Conv2dSignature(
        batch=batch,
        in_channels=in_channels,
        height=height,
        width=width,
        out_channels=out_channels,
        kernel=(kernel_h, kernel_w),
        strides=(strides[0], strides[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilation=(dilation[0], dilation[1]),
        groups=int(attrs.groups),
    )


def padded(data: te.Tensor, pads: tuple[int, int, int, int], dtype: str | None = None) -> te.Tensor:
    """``data[N, C, H, W]`` or ``data[N, C/B, H, W, B]`` with zeros around each plane.

    The block has the role `PAD`. Without pads it is the data itself.

    Args:
        dtype: a type that the copy has instead of the data's; then it is one without pads, too.
    """
    top, left, bottom, right = pads
    if not any(pads) and dtype is None:
        return data
    batch, channels, height, width, *block = (int(extent) for extent in data.shape)
    zero = tirx.const(0.0, str(data.dtype))

    def element(n: Any, c: Any, y: Any, x: Any, *lane: Any) -> Any:
        # Two tests, one in the other: the row's leaves the loop over a row.
        value = data[(n, c, y - top, x - left, *lane)]
        if left or right:
            value = tirx.if_then_else(tirx.all(x >= left, x < left + width), value, zero)
        if top or bottom:
            value = tirx.if_then_else(tirx.all(y >= top, y < top + height), value, zero)
        return value if dtype is None else value.astype(dtype)

    shape = (batch, channels, height + top + bottom, width + left + right, *block)
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})


def sampled(data: te.Tensor, sig: Conv2dSignature) -> te.Tensor:
    """The positions of ``data[N, C, H, W]`` or ``data[N, C/B, H, W, B]`` that the strides keep.

    The block has the role `PAD`: it is a copy that the sums read, without any zeros.
    """
    batch, channels, _, _, *block = (int(extent) for extent in data.shape)
    down, across = sig.strides

    def element(n: Any, c: Any, y: Any, x: Any, *lane: Any) -> Any:
        return data[(n, c, y * down, x * across, *lane)]

    shape = (batch, channels, *sig.out_extent, *block)
    return te.compute(shape, element, name="sampled", attrs={roles.ROLE: roles.PAD})


def in_output_layout(
    element: Callable[..., Any], sig: Conv2dSignature, out_block: int | None
) -> te.Tensor:
    """The convolution's result ``element(n, o, y, x)`` as [N, O, OH, OW] or [N, O/B, OH, OW, B].

    The block has the role `UNPACK`. B is `out_block`; None asks for the plain layout.
    """
    shape: tuple[int, ...] = (sig.batch, sig.out_channels, *sig.out_extent)
    compute = element
    if out_block is not None:
        shape = (sig.batch, sig.out_channels // out_block, *sig.out_extent, out_block)

        def compute(n: Any, o: Any, y: Any, x: Any, lane: Any) -> Any:
            return element(n, o * out_block + lane, y, x)

    return te.compute(shape, compute, name="unpack", attrs={roles.ROLE: roles.UNPACK})
