"""Names by which a graph stage tells a schedule rule what each block of a kernel is.

A stage writes them as block annotations (key `ROLE`); they survive fusion, names do not.
"""

from __future__ import annotations

ROLE = "tunesmith.role"

PAD = "pad"  # copies what a sum reads: zeros around it, or only what strides keep
PACK = "pack"  # copies a matrix into vector-wide panels
LAYOUT = "layout"  # a copy from blocked layout to plain, or back
UNPACK = "unpack"  # from vector-wide blocks back to the plain layout; drops padded lanes
# [N, G, O/L, OH, OW, L] += input * weight[G, O/L, I/B, KH, KW, B, L], input plain (B 1) or blocked;
# reduced over blocks of channels, taps, channels of a block.
CONV2D = "conv2d"
# [N, G, O/G, OH, V, L] += rows[N, C, H, S, W/S] * weight[G, I, KH, KW/P, P, O/G]: L columns in
# lanes; reduced over channels, rows, and columns of taps in runs of P.
CONV2D_COLUMNS = "conv2d-columns"
CONV2D_TRANSPOSE = "conv2d-transpose"  # as CONV2D, a channel for each phase of the strides
DEPTHWISE_CONV2D = "depthwise-conv2d"  # [N, C, OH, OW] += input[N, C, H, W] * weight[C, KH, KW]
BLOCKED_DEPTHWISE_CONV2D = "blocked-depthwise-conv2d"  # [N, C/B, OH, OW, B], B in lanes
# Of small integers, sums in int32, data with channels last, rows as the machine's dot product reads
# them. [N, Y, X, O/L, L] += rows[N, H, W, C] * weight[O/L, KH, KW, C/D, L, D]; a pointwise one has
# all positions in X. Reduced over rows and columns of taps, chunks of D channels, those of a chunk.
INTEGER_CONV2D = "integer-conv2d"
INTEGER_DEPTHWISE = "integer-depthwise"  # [N, OH, OW, O] += rows[N, H, W, C] * weight[KH, KW, O]
# Depthwise by pairs of taps below each other: [N, OH, OW, O] += rows[N, H/2, W, C, 2] * weight[S,
# KH/2, KW, O, 2], S: which row of a pair is the first; reduced over pairs, columns, two of a pair.
TAP_PAIRS = "tap-pairs"
INTEGER_MATMUL = "integer-matmul"  # [M, N/L, L] += rows[M, K] * weight[N/L, K/D, L, D]
# The like of bfloat16 in pairs, sums in float32. [N, 1, O/L, Y, X, L] += rows[N, I/B, H, W, B] *
# weight[1, O/L, I/B, KH, KW, B/2, L, 2]; a pointwise one has all positions in X, as have its rows.
# Reduced over blocks of channels, taps, pairs of a block, the two of a pair.
BFLOAT_CONV2D = "bfloat-conv2d"
BFLOAT_MATMUL = "bfloat-matmul"  # [1, M, N/L, L] += rows[M, K] * weight[1, N/L, K/2, L, 2]
MATMUL = "matmul"  # [B, M, N/L, L] += a[B, M, K] * b[B or 1, N/L, K, L]
# Winograd convolution in chunks [N, GY, GX] of T tiles, P x P points a tile.
WINOGRAD_HALF = "winograd-half"  # a transform along one side of each tile
WINOGRAD_DATA = "winograd-data"  # [chunk, P, P, T, C/B, B]
WINOGRAD_PRODUCTS = "winograd-products"  # [chunk, P, P, T, O/L, L], reduced over channels
WINOGRAD_OUTPUT = "winograd-output"  # [chunk, O/L, T, m, m, L]
CHUNK_COLUMNS = "tunesmith.chunk-columns"  # of WINOGRAD_OUTPUT: tiles of a chunk in one row
LANE_SUMS = "lane-sums"  # [*rows, lane] over chunks: reduced lane by lane, in vectors
ROW_VALUE = "row-value"  # of one row: computed once, read for all its elements

# Products of a GPU. Operands are gathered as [B, K', rows'] and [B, K', columns'], as large as
# whole tiles; GPU_PRODUCT is [B, rows', columns'] over K'. The others are annotations of it.
GPU_LEFT = "gpu-left"
GPU_RIGHT = "gpu-right"
GPU_PRODUCT = "gpu-product"
GPU_ROWS = "tunesmith.gpu-rows"  # without what fills up the last tile
GPU_COLUMNS = "tunesmith.gpu-columns"
GPU_TILE_ROWS = "tunesmith.gpu-tile-rows"
GPU_TILE_COLUMNS = "tunesmith.gpu-tile-columns"
GPU_TILE_DEPTH = "tunesmith.gpu-tile-depth"
# What multiplies: a precision of tensor cores, "int8" (theirs too) or "dp4a", whose operands are
# gathered as [B, rows', K'/4, 4] and [B, columns', K'/4, 4]; not there where each number is
# multiplied by itself.
GPU_PRECISION = "tunesmith.gpu-precision"
GPU_WORDS = "tunesmith.gpu-words"  # of gathered bytes: "together" or "apart" where they come from
GPU_DEPTHWISE = "gpu-depthwise"  # [N, C, OH, OW] over the taps, padding within

# Loop annotation: a nest over lanes, columns and what is summed, for a function of the runtime.
# The number is 1; that of the nest before it, which starts the sums with zeros, is 0.
SUMS = "tunesmith.sums"
# Loop annotation: lanes, around the products of a step; LLVM's name of the instruction for both.
DOT_STEP = "tunesmith.dot-step"
# Loop annotation: lanes of two vectors that are stored one lane of each after the other; the loop
# inside chooses between them.
INTERLEAVED = "tunesmith.interleaved"
# Loop annotation: positions of a row that is copied as int16, for a function of the runtime.
WIDENED_ROW = "tunesmith.widened-row"
# The like for sums of small integers; the number says what the machine has: dot products, products
# of int8 in 16 bits (Arm without dot products), RISC-V's vectors, or only words of 64 bits.
INTEGER_SUMS = "tunesmith.integer-sums"
DOTS, NARROW_PAIRS, RISCV_VECTORS, WORDS = 1, 2, 3, 4
# The like in registers of a length that only the processor knows.
SCALABLE_INTEGER_SUMS = "tunesmith.scalable-integer-sums"
# The like for products of tiles (AMX); the number is the chunks of a step. A sum's block that fills
# tiles has it, too: its data is read as it is, int8 or uint8.
TILE_SUMS = "tunesmith.tile-sums"
# Loop annotation: the last iteration does less than the others and shall have code of its own.
TAIL = "tunesmith.tail"
# Attention of one chunk of rows, all but the output as [*batch, chunk, ..., vector, lane].
ATTENTION_QUERIES = "attention-queries"  # [..., depth, vector, lane]
ATTENTION_SCORES = "attention-scores"  # [..., position, vector, lane], reduced over depth
ATTENTION_MASKED = "attention-masked"  # scores and what is added to them
ATTENTION_MOST = "attention-most"  # [..., vector, lane], reduced over positions
ATTENTION_POWERS = "attention-powers"  # [..., position, vector, lane]
ATTENTION_TOTAL = "attention-total"  # [..., vector, lane], reduced over positions
ATTENTION_SCALE = "attention-scale"  # [..., vector, lane]
ATTENTION_VALUES = "attention-values"  # [..., position, column]: a copy that lies together
ATTENTION_PARTS = "attention-parts"  # [..., span, column, vector, lane], reduced over a span
ATTENTION_MIXED = "attention-mixed"  # [..., column, vector, lane], reduced over spans of positions
ATTENTION_NORMAL = "attention-normal"  # [..., column, vector, lane]
ATTENTION_OUT = "attention-out"  # columns last; ROWS_AXIS is an annotation of it
ATTENTION = (  # in the order of the computation
    ATTENTION_QUERIES,
    ATTENTION_SCORES,
    ATTENTION_MASKED,
    ATTENTION_MOST,
    ATTENTION_POWERS,
    ATTENTION_TOTAL,
    ATTENTION_SCALE,
    ATTENTION_VALUES,
    ATTENTION_PARTS,
    ATTENTION_MIXED,
    ATTENTION_NORMAL,
    ATTENTION_OUT,
)
ROWS_AXIS = "tunesmith.rows-axis"  # which axis of the output is rows
