"""Names by which a graph stage tells a schedule rule what each block of a kernel is.

A stage writes them as block annotations (key `ROLE`); they survive fusion, names do not.
"""

from __future__ import annotations

ROLE = "tunesmith.role"

PAD = "pad"  # copies the input and writes zeros around it
PACK = "pack"  # copies a matrix into vector-wide panels
UNPACK = "unpack"  # from vector-wide blocks back to the plain layout; drops padded lanes
# [N, G, O/L, OH, OW, L] += input * weight[G, O/L, I, KH, KW, L], the input plain or blocked;
# reduced over blocks of channels, taps, channels of a block.
CONV2D = "conv2d"
CONV2D_TRANSPOSE = "conv2d-transpose"  # as CONV2D, a channel for each phase of the strides
DEPTHWISE_CONV2D = "depthwise-conv2d"  # [N, C, OH, OW] += input[N, C, H, W] * weight[C, KH, KW]
BLOCKED_DEPTHWISE_CONV2D = "blocked-depthwise-conv2d"  # [N, C/B, OH, OW, B], B in lanes
MATMUL = "matmul"  # [B, M, N/L, L] += a[B, M, K] * b[B or 1, N/L, K, L]
LANE_SUMS = "lane-sums"  # [*rows, lane] over chunks: reduced lane by lane, in vectors
ROW_VALUE = "row-value"  # of one row: computed once, read for all its elements

# Loop annotation: the last iteration does less than the others and shall have code of its own.
TAIL = "tunesmith.tail"
