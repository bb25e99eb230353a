/* Exact sums over taps of depthwise convolutions of int8 for 64-bit Arm without dot products.
 *
 * sums[column][lane] = sum over y, x of in[column + y + x][lane] * weights[y + x][lane]
 *
 * Lanes lie together in all three. Weights are at least -127: then two products fit 16 bits, and a
 * pair is added to sums of 32 bits. Of three by three taps the weights and the inputs of a column
 * stay in registers, and those inputs that the next column reads too are not loaded again. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LANES 8  /* of a register of products */
#define COLUMNS 4 /* of a tile where there are other taps */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

#define PAIR_low(x, w, y, v)                                                                     \
    vmlal_s8(vmull_s8(vget_low_s8(x), vget_low_s8(w)), vget_low_s8(y), vget_low_s8(v))
#define PAIR_high(x, w, y, v) vmlal_high_s8(vmull_high_s8(x, w), y, v)
#define ONE_low(x, w) vmull_s8(vget_low_s8(x), vget_low_s8(w))
#define ONE_high(x, w) vmull_high_s8(x, w)
#define ADD(products)                                                                            \
    low = vaddw_s16(low, vget_low_s16(products));                                                \
    high = vaddw_high_s16(high, products);
/* Eight sums of a column whose inputs are a, b, c in each of three rows. */
#define EIGHT(half, a, b, c, to)                                                                 \
    {                                                                                            \
        const int16x8_t p0 = PAIR_##half(a##0, w00, b##0, w01);                                  \
        const int16x8_t p1 = PAIR_##half(c##0, w02, a##1, w10);                                  \
        const int16x8_t p2 = PAIR_##half(b##1, w11, c##1, w12);                                  \
        const int16x8_t p3 = PAIR_##half(a##2, w20, b##2, w21);                                  \
        const int16x8_t p4 = ONE_##half(c##2, w22);                                              \
        int32x4_t low = vaddl_s16(vget_low_s16(p0), vget_low_s16(p1));                           \
        int32x4_t high = vaddl_high_s16(p0, p1);                                                 \
        ADD(p2) ADD(p3) ADD(p4)                                                                  \
        vst1q_s32(to, low);                                                                      \
        vst1q_s32(to + 4, high);                                                                 \
    }
#define COLUMN(a, b, c)                                                                          \
    EIGHT(low, a, b, c, sums)                                                                    \
    if (sixteen) {                                                                               \
        EIGHT(high, a, b, c, sums + LANES)                                                       \
    }                                                                                            \
    if (--columns == 0) {                                                                        \
        return;                                                                                  \
    }                                                                                            \
    sums += n->sums_column;
#define NEXT(a) a##0 = next(&row0, n, sixteen), a##1 = next(&row1, n, sixteen),                  \
                a##2 = next(&row2, n, sixteen);
#define WEIGHT(y, x) lanes_of(weights + y * n->weight_y + x * n->weight_x, sixteen)

/* Eight lanes, the others zero, or sixteen. */
ALWAYS_INLINE int8x16_t lanes_of(const int8_t *at, const int sixteen)
{
    return sixteen ? vld1q_s8(at) : vcombine_s8(vld1_s8(at), vdup_n_s8(0));
}

ALWAYS_INLINE int8x16_t next(const int8_t **at, const nest *n, const int sixteen)
{
    const int8x16_t value = lanes_of(*at, sixteen);
    *at += n->in_x;
    return value;
}

/* Constants wherever this is called: `sixteen` lanes or eight; `step`, the inputs from a column to
 * the next one, 1 or 2. */
ALWAYS_INLINE void three_by_three(int32_t *sums, const int8_t *in, const int8_t *weights,
                                  const nest *n, int32_t columns, const int sixteen,
                                  const int step)
{
    const int8x16_t w00 = WEIGHT(0, 0), w01 = WEIGHT(0, 1), w02 = WEIGHT(0, 2);
    const int8x16_t w10 = WEIGHT(1, 0), w11 = WEIGHT(1, 1), w12 = WEIGHT(1, 2);
    const int8x16_t w20 = WEIGHT(2, 0), w21 = WEIGHT(2, 1), w22 = WEIGHT(2, 2);
    const int8_t *row0 = in, *row1 = in + n->in_y, *row2 = in + 2 * n->in_y;
    int8x16_t a0, a1, a2, b0, b1, b2, c0, c1, c2;
    NEXT(a)
    if (step == 1) {
        NEXT(b)
        for (;;) {
            NEXT(c) COLUMN(a, b, c)
            NEXT(a) COLUMN(b, c, a)
            NEXT(b) COLUMN(c, a, b)
        }
    } else {
        for (;;) {
            NEXT(b) NEXT(c) COLUMN(a, b, c)
            NEXT(b) NEXT(a) COLUMN(c, b, a)
        }
    }
}

#define THREE_BY_THREE(lanes, step)                                                              \
    static void three_by_three_##lanes##_##step(int32_t *sums, const int8_t *in,                 \
                                                const int8_t *weights, const nest *n,            \
                                                int32_t columns)                                 \
    {                                                                                            \
        const nest own = *n;                                                                     \
        three_by_three(sums, in, weights, &own, columns, lanes == 16, step);                     \
    }
THREE_BY_THREE(8, 1) THREE_BY_THREE(8, 2) THREE_BY_THREE(16, 1) THREE_BY_THREE(16, 2)

/* Any taps, eight lanes; `columns` is a constant wherever this is called. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        const int columns)
{
    int32x4_t low[COLUMNS], high[COLUMNS];
    int32_t y, x, c;
    for (c = 0; c < columns; c++) {
        low[c] = high[c] = vdupq_n_s32(0);
    }
    for (y = 0; y < n->taps_y; y++) {
        const int8_t *at = in + y * n->in_y;
        const int8_t *from = weights + y * n->weight_y;
        for (x = n->taps_x; x > 0; x -= 2) {
            const int8x8_t w = vld1_s8(from);
            const int8x8_t v = x > 1 ? vld1_s8(from + n->weight_x) : vdup_n_s8(0);
            const int8_t *other = x > 1 ? at + n->in_x : at;
            for (c = 0; c < columns; c++) {
                const int16x8_t products =
                    vmlal_s8(vmull_s8(vld1_s8(at + c * n->in_column), w),
                             vld1_s8(other + c * n->in_column), v);
                low[c] = vaddw_s16(low[c], vget_low_s16(products));
                high[c] = vaddw_high_s16(high[c], products);
            }
            at += 2 * n->in_x;
            from += 2 * n->weight_x;
        }
    }
    for (c = 0; c < columns; c++) {
        vst1q_s32(sums + c * n->sums_column, low[c]);
        vst1q_s32(sums + c * n->sums_column + 4, high[c]);
    }
}

static void any_taps(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                     int32_t columns)
{
    for (; columns >= COLUMNS; columns -= COLUMNS) {
        tile(sums, in, weights, n, COLUMNS);
        sums += COLUMNS * n->sums_column;
        in += COLUMNS * n->in_column;
    }
    for (; columns > 0; columns--) {
        tile(sums, in, weights, n, 1);
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

typedef void (*strip_function)(int32_t *, const int8_t *, const int8_t *, const nest *, int32_t);

/* For eight lanes and sixteen. */
static const strip_function by_step[3][2] = {
    {any_taps, any_taps},
    {three_by_three_8_1, three_by_three_16_1},
    {three_by_three_8_2, three_by_three_16_2},
};

TS_HIDDEN void TS_NAME(tunesmith_narrow_depthwise)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    const nest n = {taps_y, taps_x, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    const int three = taps_y == 3 && taps_x == 3;
    const int step = three && in_column == in_x ? 1 : three && in_column == 2 * in_x ? 2 : 0;
    int32_t lane = 0;
    for (; step > 0 && lane + 2 * LANES <= lanes; lane += 2 * LANES) {
        by_step[step][1](sums + lane, in + lane, weights + lane, &n, columns);
    }
    for (; lanes >= LANES && lane < lanes; lane += LANES) {
        /* The last register goes back over lanes that are done: their sums are the same. */
        const int32_t first = lane + LANES <= lanes ? lane : lanes - LANES;
        by_step[step][0](sums + first, in + first, weights + first, &n, columns);
    }
    for (; lane < lanes; lane++) {
        one_lane(sums + lane, in + lane, weights + lane, &n, columns);
    }
}
