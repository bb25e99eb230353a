/* Exact sums of products of small integers, four products a lane (Arm dot product extension).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + 4 chunk + k] *
 *                                          weights[y + x][chunk][lane][k]
 *
 * Inputs and weights are int8. Lanes, 4, 8 or 16, lie together in sums. A tile of vectors x columns
 * of sums stays in registers over all that is summed; of the inputs of a column four chunks are
 * loaded at once and taken by lane. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x, chunks;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define COLUMNS_OF(OP, v) OP(v, 0) OP(v, 1) OP(v, 2) OP(v, 3) OP(v, 4) OP(v, 5) OP(v, 6) OP(v, 7)
#define ALL(OP) COLUMNS_OF(OP, 0) COLUMNS_OF(OP, 1) COLUMNS_OF(OP, 2) COLUMNS_OF(OP, 3)

#define START(v, c) int32x4_t a##v##_##c = vdupq_n_s32(0);
#define STORE(v, c)                                                                              \
    if (v < vectors && c < columns) vst1q_s32(sums + c * n->sums_column + 4 * v, a##v##_##c);
/* Where a column's inputs are, from the first one's: hidden from the compiler, which adds it in the
 * load and would otherwise move as many pointers as there are columns. */
#define OFFSET(c)                                                                                \
    int64_t o##c = c < columns ? (int64_t)c * n->in_column : 0;                                  \
    __asm__("" : "+r"(o##c));
#define LOAD_FOUR(c) int8x16_t x##c = vld1q_s8(at + o##c);
#define LOAD_TWO(c) int8x16_t x##c = vcombine_s8(vld1_s8(at + o##c), vdup_n_s8(0));
#define LOAD_ONE(c) int8x16_t x##c = one_chunk(at + o##c);
#define DOT(v, c)                                                                                \
    if (c < columns) a##v##_##c = vdotq_laneq_s32(a##v##_##c, w, x##c, LANE);
#define VECTOR(v)                                                                                \
    if (v < vectors) {                                                                           \
        const int8x16_t w = vld1q_s8(from + 16 * (LANE * vectors + v));                          \
        COLUMNS_OF(DOT, v)                                                                       \
    }
#define VECTORS VECTOR(0) VECTOR(1) VECTOR(2) VECTOR(3)

ALWAYS_INLINE int8x16_t one_chunk(const int8_t *at)
{
    int32_t four;
    __builtin_memcpy(&four, at, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* `vectors`, `columns` and `one_tap` are constants wherever this is called: what they leave out is
 * no code. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        const int vectors, const int columns, const int one_tap)
{
    const int32_t taps_y = one_tap ? 1 : n->taps_y, taps_x = one_tap ? 1 : n->taps_x;
    int32_t y, x, i;
    COLUMNS(OFFSET)
    ALL(START)
    for (y = 0; y < taps_y; y++) {
        for (x = 0; x < taps_x; x++) {
            const int8_t *at = in + y * n->in_y + x * n->in_x;
            const int8_t *from = weights + y * n->weight_y + x * n->weight_x;
            for (i = n->chunks >> 2; i > 0; i--) {
                COLUMNS(LOAD_FOUR)
#define LANE 0
                VECTORS
#undef LANE
#define LANE 1
                VECTORS
#undef LANE
#define LANE 2
                VECTORS
#undef LANE
#define LANE 3
                VECTORS
#undef LANE
                at += 16;
                from += 64 * vectors;
            }
            if (n->chunks & 2) {
                COLUMNS(LOAD_TWO)
#define LANE 0
                VECTORS
#undef LANE
#define LANE 1
                VECTORS
#undef LANE
                at += 8;
                from += 32 * vectors;
            }
            if (n->chunks & 1) {
                COLUMNS(LOAD_ONE)
#define LANE 0
                VECTORS
#undef LANE
            }
        }
    }
    ALL(STORE)
}

ALWAYS_INLINE void strip(int32_t *sums, const int8_t *in, const int8_t *weights, nest n,
                         int32_t tiles, const int vectors, const int columns, const int one_tap)
{
    for (; tiles > 0; tiles--) {
        tile(sums, in, weights, &n, vectors, columns, one_tap);
        sums += columns * n.sums_column;
        in += columns * n.in_column;
    }
}

/* One tile after another along the columns: addresses are computed once for all of them. */
#define TILE(vectors, columns)                                                                   \
    static void tile_##vectors##_##columns(int32_t *sums, const int8_t *in,                      \
                                           const int8_t *weights, const nest *n, int32_t tiles)  \
    {                                                                                            \
        if (n->taps_y == 1 && n->taps_x == 1) {                                                  \
            strip(sums, in, weights, *n, tiles, vectors, columns, 1);                            \
        } else {                                                                                 \
            strip(sums, in, weights, *n, tiles, vectors, columns, 0);                            \
        }                                                                                        \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 4) TILE(1, 8)
TILE(2, 1) TILE(2, 2) TILE(2, 4) TILE(2, 8)
TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 6)

typedef void (*tile_function)(int32_t *, const int8_t *, const int8_t *, const nest *, int32_t);

/* For 4, 8 and 16 lanes the tiles from the widest; sums, inputs and weights fit 32 registers:
 * 4 x 6 + 6 + 2, 2 x 8 + 8 + 2. */
static const struct {
    int32_t columns;
    tile_function run;
} tiles[3][4] = {
    {{8, tile_1_8}, {4, tile_1_4}, {2, tile_1_2}, {1, tile_1_1}},
    {{8, tile_2_8}, {4, tile_2_4}, {2, tile_2_2}, {1, tile_2_1}},
    {{6, tile_4_6}, {3, tile_4_3}, {2, tile_4_2}, {1, tile_4_1}},
};

TS_HIDDEN void TS_NAME(tunesmith_dot_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, chunks, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    const int kind = lanes == 16 ? 2 : lanes == 8 ? 1 : 0;
    int i;
    if (in_x == 4 * chunks) { /* taps of a row lie together, as their weights do */
        n.chunks *= taps_x;
        n.taps_x = 1;
    }
    for (i = 0; columns > 0; i++) {
        const int32_t count = columns / tiles[kind][i].columns;
        const int32_t done = count * tiles[kind][i].columns;
        if (count > 0) {
            tiles[kind][i].run(sums, in, weights, &n, count);
            sums += done * sums_column;
            in += done * in_column;
            columns -= done;
        }
    }
}
