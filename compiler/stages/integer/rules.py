"""Which operators have integer forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compiler.stages.integer.context import Context, Result
from compiler.stages.integer.conv2d import (
    integer_convolution,
    integer_row_convolution,
    integer_transposed_convolution,
)
from compiler.stages.integer.elementwise import (
    integer_difference,
    integer_elements_product,
    integer_sum,
)
from compiler.stages.integer.matmul import integer_product
from compiler.stages.integer.movement import (
    integer_concatenation,
    integer_padding,
    integer_resize,
    integer_slice,
)
from compiler.stages.integer.pooling import (
    integer_average_pooling,
    integer_max_pooling,
    integer_mean,
)
from compiler.stages.integer.softmax import integer_softmax_rows
from compiler.stages.integer.values import Integers

# A rule takes the operator whose result is quantized, moved and clipped perhaps, and gives its
# integers; it raises StaysFloatError where there is no integer form.
IntegerRule = Callable[[Context, Any, Result], Integers]

INTEGER_RULES: dict[str, IntegerRule] = {
    "relax.add": integer_sum,
    "relax.concat": integer_concatenation,
    "relax.image.resize2d": integer_resize,
    "relax.matmul": integer_product,
    "relax.mean": integer_mean,
    "relax.multiply": integer_elements_product,
    "relax.nn.avg_pool2d": integer_average_pooling,
    "relax.nn.conv1d": integer_row_convolution,
    "relax.nn.conv2d": integer_convolution,
    "relax.nn.conv2d_transpose": integer_transposed_convolution,
    "relax.nn.max_pool2d": integer_max_pooling,
    "relax.nn.pad": integer_padding,
    "relax.nn.softmax": integer_softmax_rows,
    "relax.strided_slice": integer_slice,
    "relax.subtract": integer_difference,
}
