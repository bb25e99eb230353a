/* Sums of products of halves, eight lanes a vector (Arm FEAT_FP16).
 *
 * sums[column][lane] = sum over channel, ky, kx, inner of in[column, ...] * weights[..., lane]
 *
 * Lanes, a multiple of eight, lie together in sums and in weights. A tile of vectors x columns of
 * sums stays in registers as halves for at most CHUNK products each, so that few roundings to 11
 * bits add up; then it is added to the sums, which are floats. Where `inner` is contiguous in `in`,
 * eight of its elements are loaded for each column and taken by lane. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define CHUNK 64
#define LANES 8

/* Extents and strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t channels, taps_y, taps_x, inner;
    int32_t sums_column, in_column;
    int32_t in_channel, in_y, in_x, in_inner;
    int32_t weight_channel, weight_y, weight_x, weight_inner;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define COLUMNS_OF(OP, v) OP(v, 0) OP(v, 1) OP(v, 2) OP(v, 3) OP(v, 4) OP(v, 5) OP(v, 6) OP(v, 7)
#define ALL(OP) COLUMNS_OF(OP, 0) COLUMNS_OF(OP, 1) COLUMNS_OF(OP, 2) COLUMNS_OF(OP, 3)

#define START(v, c) float16x8_t a##v##_##c = zero;
/* Where a column's inputs are, from the first one's: hidden from the compiler, which adds it in the
 * load and would otherwise move as many pointers as there are columns. */
#define OFFSET(c)                                                                                \
    int64_t o##c = c < columns ? (int64_t)c * n->in_column : 0;                                  \
    __asm__("" : "+r"(o##c));
#define LOAD_EIGHT(c) float16x8_t x##c = vld1q_f16(at + o##c);
#define LOAD_ONE(c) float16x8_t x##c = vld1q_dup_f16(at + o##c);
#define BY_LANE(v, c)                                                                            \
    if (c < columns) a##v##_##c = vfmaq_laneq_f16(a##v##_##c, w, x##c, LANE);
#define BY_ONE(v, c)                                                                             \
    if (c < columns) a##v##_##c = vfmaq_f16(a##v##_##c, w, x##c);
#define VECTOR(v, OP)                                                                            \
    if (v < vectors) {                                                                           \
        const float16x8_t w = vld1q_f16(from + LANES * v);                                       \
        COLUMNS_OF(OP, v)                                                                        \
    }
#define VECTORS(OP) VECTOR(0, OP) VECTOR(1, OP) VECTOR(2, OP) VECTOR(3, OP)
#define STEP                                                                                     \
    VECTORS(BY_LANE)                                                                             \
    from += n->weight_inner;

#define TO(v, c) (sums + c * n->sums_column + LANES * v)
#define SET(v, c)                                                                                \
    if (v < vectors && c < columns) {                                                            \
        vst1q_f32(TO(v, c), vcvt_f32_f16(vget_low_f16(a##v##_##c)));                             \
        vst1q_f32(TO(v, c) + 4, vcvt_high_f32_f16(a##v##_##c));                                  \
        a##v##_##c = zero;                                                                       \
    }
#define ADD(v, c)                                                                                \
    if (v < vectors && c < columns) {                                                            \
        float *to = TO(v, c);                                                                    \
        vst1q_f32(to, vaddq_f32(vld1q_f32(to), vcvt_f32_f16(vget_low_f16(a##v##_##c))));         \
        vst1q_f32(to + 4, vaddq_f32(vld1q_f32(to + 4), vcvt_high_f32_f16(a##v##_##c)));          \
        a##v##_##c = zero;                                                                       \
    }
#define FLUSH                                                                                    \
    if (is_first) {                                                                              \
        ALL(SET)                                                                                 \
    } else {                                                                                     \
        ALL(ADD)                                                                                 \
    }                                                                                            \
    is_first = 0;                                                                                \
    count = 0;

/* `vectors`, `columns` and `by_lane` are constants wherever this is called: what they leave out is
 * no code. */
ALWAYS_INLINE void tile(float *sums, const float16_t *in, const float16_t *weights, const nest *n,
                        const int vectors, const int columns, const int by_lane)
{
    const float16x8_t zero = vdupq_n_f16(0);
    int32_t channel, y, x, i, count = 0, is_first = 1;
    COLUMNS(OFFSET)
    ALL(START)
    for (channel = 0; channel < n->channels; channel++) {
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                const float16_t *at = in + channel * n->in_channel + y * n->in_y + x * n->in_x;
                const float16_t *from = weights + channel * n->weight_channel +
                                        y * n->weight_y + x * n->weight_x;
                for (i = n->inner; by_lane && i > 0; i -= LANES) {
                    COLUMNS(LOAD_EIGHT)
#define LANE 0
                    STEP
#undef LANE
#define LANE 1
                    STEP
#undef LANE
#define LANE 2
                    STEP
#undef LANE
#define LANE 3
                    STEP
#undef LANE
#define LANE 4
                    STEP
#undef LANE
#define LANE 5
                    STEP
#undef LANE
#define LANE 6
                    STEP
#undef LANE
#define LANE 7
                    STEP
#undef LANE
                    at += LANES;
                    count += LANES;
                    if (count >= CHUNK) {
                        FLUSH
                    }
                }
                for (i = n->inner; !by_lane && i > 0; i--) {
                    COLUMNS(LOAD_ONE)
                    VECTORS(BY_ONE)
                    from += n->weight_inner;
                    at += n->in_inner;
                    count++;
                    if (count >= CHUNK) {
                        FLUSH
                    }
                }
            }
        }
    }
    if (count > 0) {
        FLUSH
    }
}

ALWAYS_INLINE void strip(float *sums, const float16_t *in, const float16_t *weights, nest n,
                         int32_t tiles, const int vectors, const int columns, const int by_lane)
{
    for (; tiles > 0; tiles--) {
        tile(sums, in, weights, &n, vectors, columns, by_lane);
        sums += columns * n.sums_column;
        in += columns * n.in_column;
    }
}

/* One tile after another along the columns: addresses are computed once for all of them. */
#define TILE(vectors, columns)                                                                   \
    static void tile_##vectors##_##columns(float *sums, const float16_t *in,                     \
                                           const float16_t *weights, const nest *n,              \
                                           int32_t tiles)                                        \
    {                                                                                            \
        if (n->in_inner == 1 && n->inner % LANES == 0) {                                         \
            strip(sums, in, weights, *n, tiles, vectors, columns, 1);                            \
        } else {                                                                                 \
            strip(sums, in, weights, *n, tiles, vectors, columns, 0);                            \
        }                                                                                        \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 4) TILE(1, 8)
TILE(2, 1) TILE(2, 2) TILE(2, 4) TILE(2, 8)
TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 6)

typedef void (*tile_function)(float *, const float16_t *, const float16_t *, const nest *, int32_t);

/* For each number of vectors the tiles from the widest; sums, inputs and weights fit 32 registers:
 * 4 x 6 + 6 + 2, 2 x 8 + 8 + 2. */
static const struct {
    int32_t columns;
    tile_function run;
} tiles[3][4] = {
    {{8, tile_1_8}, {4, tile_1_4}, {2, tile_1_2}, {1, tile_1_1}},
    {{8, tile_2_8}, {4, tile_2_4}, {2, tile_2_2}, {1, tile_2_1}},
    {{6, tile_4_6}, {3, tile_4_3}, {2, tile_4_2}, {1, tile_4_1}},
};

TS_HIDDEN void TS_NAME(tunesmith_half_sums)(
    float *sums, const float16_t *in, const float16_t *weights, int32_t columns, int32_t lanes,
    int32_t channels, int32_t taps_y, int32_t taps_x, int32_t inner, int32_t sums_column,
    int32_t in_column, int32_t in_channel, int32_t in_y, int32_t in_x, int32_t in_inner,
    int32_t weight_channel, int32_t weight_y, int32_t weight_x, int32_t weight_inner)
{
    const nest n = {channels, taps_y, taps_x, inner, sums_column, in_column, in_channel, in_y,
                    in_x, in_inner, weight_channel, weight_y, weight_x, weight_inner};
    int32_t lane = 0, column, i;
    while (lane < lanes) {
        const int32_t left = (lanes - lane) / LANES;
        const int kind = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        for (column = 0, i = 0; column < columns; i++) {
            const int32_t count = (columns - column) / tiles[kind][i].columns;
            if (count > 0) {
                tiles[kind][i].run(sums + column * sums_column + lane, in + column * in_column,
                                   weights + lane, &n, count);
                column += count * tiles[kind][i].columns;
            }
        }
        lane += LANES << kind;
    }
}
