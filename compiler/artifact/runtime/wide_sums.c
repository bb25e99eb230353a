/* Exact sums of products of small integers, one input at a time (Arm NEON).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + k] * weights[y + x][k][lane]
 *
 * Inputs are int16, weights int8; lanes, 4, 8 or 16, lie together in weights and sums. Little depth
 * needs no filling up here, as it does in groups of products. A tile of vectors x columns of sums
 * stays in registers over all that is summed; four inputs of a column are loaded at once and taken
 * by lane. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x, depth;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define START(c)                                                                                 \
    int32x4_t a##c##_0 = none, a##c##_1 = none, a##c##_2 = none, a##c##_3 = none;
/* What the compiler shall not know: it would compute all columns' addresses first, and move as many
 * pointers as there are columns. */
#define HIDE(value) __asm__("" : "+r"(value));
#define STORE_VECTOR(c, v)                                                                       \
    if (v < vectors) {                                                                           \
        vst1q_s32(sums + 4 * v, a##c##_##v);                                                     \
    }
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        STORE_VECTOR(c, 0) STORE_VECTOR(c, 1) STORE_VECTOR(c, 2) STORE_VECTOR(c, 3)              \
        sums += n->sums_column;                                                                  \
        HIDE(sums)                                                                               \
    }
/* Where a column's inputs are, from the first one's. */
#define OFFSET(c) int64_t o##c = c < columns ? 2 * (int64_t)c * n->in_column : 0;
#define LOAD(c, load)                                                                            \
    int16x4_t x##c = none_16;                                                                    \
    if (c < columns) {                                                                           \
        HIDE(o##c)                                                                               \
        x##c = load((const char *)at + o##c);                                                    \
    }
#define LOAD_FOUR(c) LOAD(c, four)
#define LOAD_TWO(c) LOAD(c, two)
#define LOAD_ONE(c) LOAD(c, one)
#define ADD_VECTOR(c, v, w)                                                                      \
    if (v < vectors) {                                                                           \
        a##c##_##v = vmlal_lane_s16(a##c##_##v, w, x##c, LANE);                                  \
    }
#define ADD(c)                                                                                   \
    if (c < columns) {                                                                           \
        ADD_VECTOR(c, 0, vget_low_s16(first))                                                    \
        ADD_VECTOR(c, 1, vget_high_s16(first))                                                   \
        ADD_VECTOR(c, 2, vget_low_s16(second))                                                   \
        ADD_VECTOR(c, 3, vget_high_s16(second))                                                  \
    }
#define ONE_INPUT                                                                                \
    {                                                                                            \
        const int8x16_t w = lanes_of(from, vectors);                                             \
        const int16x8_t first = vmovl_s8(vget_low_s8(w)), second = vmovl_high_s8(w);             \
        COLUMNS(ADD)                                                                             \
        from += 4 * vectors;                                                                     \
    }

ALWAYS_INLINE int16x4_t four(const char *at) { return vld1_s16((const int16_t *)at); }

ALWAYS_INLINE int16x4_t two(const char *at)
{
    uint32_t both;
    __builtin_memcpy(&both, at, sizeof both);
    return vcreate_s16(both);
}

ALWAYS_INLINE int16x4_t one(const char *at) { return vcreate_s16(*(const uint16_t *)at); }

/* Four weights for each vector, the others zero. */
ALWAYS_INLINE int8x16_t lanes_of(const int8_t *from, const int vectors)
{
    int32_t four;
    if (vectors == 4) {
        return vld1q_s8(from);
    }
    if (vectors == 2) {
        return vcombine_s8(vld1_s8(from), vdup_n_s8(0));
    }
    __builtin_memcpy(&four, from, sizeof four);
    return vreinterpretq_s8_s32(vsetq_lane_s32(four, vdupq_n_s32(0), 0));
}

/* `vectors` and `columns` are constants wherever this is called: what they leave out is no code. */
ALWAYS_INLINE void tile(int32_t *sums, const int16_t *in, const int8_t *weights, const nest *n,
                        const int vectors, const int columns)
{
    const int32x4_t none = vdupq_n_s32(0);
    const int16x4_t none_16 = vdup_n_s16(0);
    int32_t y, x, i;
    COLUMNS(OFFSET)
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        for (x = 0; x < n->taps_x; x++) {
            const int16_t *at = in + y * n->in_y + x * n->in_x;
            const int8_t *from = weights + y * n->weight_y + x * n->weight_x;
            for (i = n->depth >> 2; i > 0; i--) {
                COLUMNS(LOAD_FOUR)
#define LANE 0
                ONE_INPUT
#undef LANE
#define LANE 1
                ONE_INPUT
#undef LANE
#define LANE 2
                ONE_INPUT
#undef LANE
#define LANE 3
                ONE_INPUT
#undef LANE
                at += 4;
            }
            if (n->depth & 2) {
                COLUMNS(LOAD_TWO)
#define LANE 0
                ONE_INPUT
#undef LANE
#define LANE 1
                ONE_INPUT
#undef LANE
                at += 2;
            }
            if (n->depth & 1) {
                COLUMNS(LOAD_ONE)
#define LANE 0
                ONE_INPUT
#undef LANE
            }
        }
    }
    COLUMNS(STORE)
}

#define TILE(vectors, columns)                                                                   \
    static void tile_##vectors##_##columns(int32_t *sums, const int16_t *in,                     \
                                           const int8_t *weights, const nest *given,             \
                                           int32_t tiles)                                        \
    {                                                                                            \
        const nest n = *given;                                                                   \
        for (; tiles > 0; tiles--) {                                                             \
            tile(sums, in, weights, &n, vectors, columns);                                       \
            sums += columns * n.sums_column;                                                     \
            in += columns * n.in_column;                                                         \
        }                                                                                        \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 4) TILE(1, 8)
TILE(2, 1) TILE(2, 2) TILE(2, 4) TILE(2, 8)
TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 5)

typedef void (*tile_function)(int32_t *, const int16_t *, const int8_t *, const nest *, int32_t);

/* For 4, 8 and 16 lanes the tiles from the widest; sums, inputs and weights fit 32 registers:
 * 4 x 5 + 5 + 3, 2 x 8 + 8 + 2. */
static const struct {
    int32_t columns;
    tile_function run;
} tiles[3][4] = {
    {{8, tile_1_8}, {4, tile_1_4}, {2, tile_1_2}, {1, tile_1_1}},
    {{8, tile_2_8}, {4, tile_2_4}, {2, tile_2_2}, {1, tile_2_1}},
    {{5, tile_4_5}, {3, tile_4_3}, {2, tile_4_2}, {1, tile_4_1}},
};

TS_HIDDEN void TS_NAME(tunesmith_wide_sums)(
    int32_t *sums, const int16_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t depth, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, depth, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    const int kind = lanes == 16 ? 2 : lanes == 8 ? 1 : 0;
    int i;
    if (in_x == depth) { /* taps of a row lie together, as their weights do */
        n.depth *= taps_x;
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
