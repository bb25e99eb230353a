/* Exact sums over taps of depthwise convolutions of int8 (Arm dot product extension).
 *
 * sums[column][lane] = sum over y, x of in[column + y + x][lane] * weights[y + x][lane]
 *
 * Lanes lie together in all three. Where there are three taps a row, the inputs of four neighbours
 * are interleaved, so that one instruction sums a row of taps for four lanes: those of the first
 * with weights k0 k1 k2 0, those of the second, one input on, with 0 k0 k1 k2. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LANES 8      /* in registers at a time */
#define MOST_TAPS 16 /* down, whose weights are interleaved */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

/* Weights of a row of taps for the first input of four, and for the second; lanes 0 to 3, 4 to 7. */
typedef struct row_weights {
    int8x16_t first_low, first_high, second_low, second_high;
} row_weights;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define PAIRS(OP) COLUMNS(OP) OP(8)
#define START(c) int32x4_t low##c = vdupq_n_s32(0), high##c = vdupq_n_s32(0);
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        vst1q_s32(sums + c * n->sums_column, low##c);                                            \
        vst1q_s32(sums + c * n->sums_column + 4, high##c);                                       \
    }
#define INPUT(place) eight(at + (place) * n->in_x)
/* Inputs 2 p and 2 p + 1, or twice the last one: the other has no weight. */
#define PAIR(p)                                                                                  \
    const int8x16_t pair##p = p <= last                                                          \
                                  ? vzip1q_s8(INPUT(2 * p), INPUT(2 * p < most ? 2 * p + 1 : most)) \
                                  : vdupq_n_s8(0);
#define FOUR(p, q)                                                                               \
    const int8x16_t four_low = vreinterpretq_s8_s16(                                             \
        vzip1q_s16(vreinterpretq_s16_s8(pair##p), vreinterpretq_s16_s8(pair##q)));               \
    const int8x16_t four_high = vreinterpretq_s8_s16(                                            \
        vzip2q_s16(vreinterpretq_s16_s8(pair##p), vreinterpretq_s16_s8(pair##q)));
#define DOT(c, which)                                                                            \
    low##c = vdotq_s32(low##c, four_low, w->which##_low);                                        \
    high##c = vdotq_s32(high##c, four_high, w->which##_high);
/* Columns c and d from the pairs p and q. */
#define TWO_COLUMNS(c, d, p, q)                                                                  \
    if (c < columns) {                                                                           \
        FOUR(p, q)                                                                               \
        DOT(c, first)                                                                            \
        if (d < columns) {                                                                       \
            DOT(d, second)                                                                       \
        }                                                                                        \
    }
#define ONE_COLUMN(c, q)                                                                         \
    if (c < columns) {                                                                           \
        FOUR(c, q)                                                                               \
        DOT(c, first)                                                                            \
    }

ALWAYS_INLINE int8x16_t eight(const int8_t *at)
{
    return vcombine_s8(vld1_s8(at), vdup_n_s8(0));
}

/* `columns` and `step`, the inputs from a column to the next one, 1 or 2, are constants wherever
 * this is called. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *at, const row_weights *w, const nest *n,
                        const int columns, const int step)
{
    const int most = step * (columns - 1) + 2; /* the last input that is read */
    const int last = most / 2;
    int32_t y;
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        PAIRS(PAIR)
        if (step == 1) {
            TWO_COLUMNS(0, 1, 0, 1)
            TWO_COLUMNS(2, 3, 1, 2)
            TWO_COLUMNS(4, 5, 2, 3)
            TWO_COLUMNS(6, 7, 3, 4)
        } else {
            ONE_COLUMN(0, 1) ONE_COLUMN(1, 2) ONE_COLUMN(2, 3) ONE_COLUMN(3, 4)
            ONE_COLUMN(4, 5) ONE_COLUMN(5, 6) ONE_COLUMN(6, 7) ONE_COLUMN(7, 8)
        }
        at += n->in_y;
        w++;
    }
    COLUMNS(STORE)
}

/* Weights of eight lanes as `tile` reads them. */
static void interleave(row_weights *to, const int8_t *weights, const nest *n)
{
    const int8x16_t none = vdupq_n_s8(0);
    int32_t y;
    for (y = 0; y < n->taps_y; y++) {
        const int8_t *from = weights + y * n->weight_y;
        const int8x16_t k0 = eight(from), k1 = eight(from + n->weight_x);
        const int8x16_t k2 = eight(from + 2 * n->weight_x);
        const int16x8_t k01 = vreinterpretq_s16_s8(vzip1q_s8(k0, k1));
        const int16x8_t k2_ = vreinterpretq_s16_s8(vzip1q_s8(k2, none));
        const int16x8_t _k0 = vreinterpretq_s16_s8(vzip1q_s8(none, k0));
        const int16x8_t k12 = vreinterpretq_s16_s8(vzip1q_s8(k1, k2));
        to[y].first_low = vreinterpretq_s8_s16(vzip1q_s16(k01, k2_));
        to[y].first_high = vreinterpretq_s8_s16(vzip2q_s16(k01, k2_));
        to[y].second_low = vreinterpretq_s8_s16(vzip1q_s16(_k0, k12));
        to[y].second_high = vreinterpretq_s8_s16(vzip2q_s16(_k0, k12));
    }
}

#define CASE(width, step)                                                                        \
    case width:                                                                                  \
        tile(sums, in, w, n, width, step);                                                       \
        break;
/* Tiles as equal as can be: eight columns at most. */
#define STRIP(step)                                                                              \
    static void strip_##step(int32_t *sums, const int8_t *in, const row_weights *w,           \
                             const nest *n, int32_t columns)                                     \
    {                                                                                            \
        int32_t tiles = (columns + 7) / 8;                                                       \
        for (; tiles > 0; tiles--) {                                                             \
            const int32_t width = columns / tiles;                                               \
            switch (width) {                                                                     \
                CASE(1, step) CASE(2, step) CASE(3, step) CASE(4, step)                          \
                CASE(5, step) CASE(6, step) CASE(7, step) CASE(8, step)                          \
            }                                                                                    \
            sums += width * n->sums_column;                                                      \
            in += width * n->in_column;                                                          \
            columns -= width;                                                                    \
        }                                                                                        \
    }
STRIP(1) STRIP(2)

/* Any taps, eight lanes. */
static void plain_strip(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        int32_t columns)
{
    for (; columns > 0; columns--) {
        int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);
        int32_t y, x;
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                const int16x8_t product =
                    vmull_s8(vld1_s8(in + y * n->in_y + x * n->in_x),
                             vld1_s8(weights + y * n->weight_y + x * n->weight_x));
                low = vaddw_s16(low, vget_low_s16(product));
                high = vaddw_high_s16(high, product);
            }
        }
        vst1q_s32(sums, low);
        vst1q_s32(sums + 4, high);
        sums += n->sums_column;
        in += n->in_column;
    }
}

static void one_lane(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                     int32_t columns)
{
    int32_t column, y, x;
    for (column = 0; column < columns; column++) {
        int32_t sum = 0;
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                sum += in[column * n->in_column + y * n->in_y + x * n->in_x] *
                       weights[y * n->weight_y + x * n->weight_x];
            }
        }
        sums[column * n->sums_column] = sum;
    }
}

TS_HIDDEN void TS_NAME(tunesmith_dot_depthwise)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    const nest n = {taps_y, taps_x, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    const int step = in_column == in_x ? 1 : in_column == 2 * in_x ? 2 : 0;
    row_weights interleaved[MOST_TAPS];
    int32_t lane;
    for (lane = 0; lane < lanes; lane += LANES) {
        /* The last register goes back over lanes that are done: their sums are the same. */
        const int32_t first = lane + LANES <= lanes ? lane : lanes - LANES;
        int32_t *to = sums + first;
        const int8_t *from = in + first;
        const int8_t *factors = weights + first;
        if (first < 0) {
            break;
        }
        if (step == 0 || taps_x != 3 || taps_y > MOST_TAPS) {
            plain_strip(to, from, factors, &n, columns);
            continue;
        }
        interleave(interleaved, factors, &n);
        if (step == 1) {
            strip_1(to, from, interleaved, &n, columns);
        } else {
            strip_2(to, from, interleaved, &n, columns);
        }
    }
    for (lane = 0; lanes < LANES && lane < lanes; lane++) {
        one_lane(sums + lane, in + lane, weights + lane, &n, columns);
    }
}
