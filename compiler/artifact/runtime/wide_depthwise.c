/* Exact sums over taps of depthwise convolutions, each lane with inputs of its own (Arm NEON).
 *
 * sums[column][lane] = sum over y, x of in[column + y + x][lane] * weights[y + x][lane]
 *
 * Inputs are int16, weights int8; lanes lie together in all three. Eight lanes x columns of sums
 * stay in registers over all taps; of three taps a row, neighbouring columns share the inputs. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LANES 8 /* of a register of inputs */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define START(c) int32x4_t low##c = vdupq_n_s32(0), high##c = vdupq_n_s32(0);
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        vst1q_s32(sums + c * n->sums_column, low##c);                                            \
        vst1q_s32(sums + c * n->sums_column + 4, high##c);                                       \
    }
#define ADD(c, x, w)                                                                             \
    low##c = vmlal_s16(low##c, vget_low_s16(x), vget_low_s16(w));                                \
    high##c = vmlal_high_s16(high##c, x, w);
#define WEIGHT(tap) vmovl_s8(vld1_s8(from + (tap) * n->weight_x))
/* Input `place` of a row is that of tap k for the column c where place = step * c + k. */
#define OF_COLUMN(c)                                                                             \
    if (c < columns && place == step * c) { ADD(c, value, w0) }                                  \
    if (c < columns && place == step * c + 1) { ADD(c, value, w1) }                              \
    if (c < columns && place == step * c + 2) { ADD(c, value, w2) }
#define PLACE(p)                                                                                 \
    if (p < step * (columns - 1) + 3) {                                                          \
        const int place = p;                                                                     \
        const int16x8_t value = vld1q_s16(at + p * n->in_x);                                     \
        COLUMNS(OF_COLUMN)                                                                       \
    }
#define PLACES                                                                                   \
    PLACE(0) PLACE(1) PLACE(2) PLACE(3) PLACE(4) PLACE(5) PLACE(6) PLACE(7) PLACE(8)             \
    PLACE(9) PLACE(10) PLACE(11) PLACE(12) PLACE(13) PLACE(14) PLACE(15) PLACE(16)
#define ONE_TAP(c)                                                                               \
    if (c < columns) {                                                                           \
        const int16x8_t value = vld1q_s16(at + c * n->in_column);                                \
        ADD(c, value, w)                                                                         \
    }

/* Constants wherever this is called: `columns`, and `step`, the inputs from a column to the next
 * one where there are three taps a row; 0 for any taps. */
ALWAYS_INLINE void tile(int32_t *sums, const int16_t *in, const int8_t *weights, const nest *n,
                        const int columns, const int step)
{
    int32_t y, x;
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        const int16_t *at = in + y * n->in_y;
        const int8_t *from = weights + y * n->weight_y;
        if (step) {
            const int16x8_t w0 = WEIGHT(0), w1 = WEIGHT(1), w2 = WEIGHT(2);
            PLACES
        } else {
            for (x = 0; x < n->taps_x; x++) {
                const int16x8_t w = WEIGHT(0);
                COLUMNS(ONE_TAP)
                at += n->in_x;
                from += n->weight_x;
            }
        }
    }
    COLUMNS(STORE)
}

static void one_lane(int32_t *sums, const int16_t *in, const int8_t *weights, const nest *n,
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

#define CASE(width, step)                                                                        \
    case width:                                                                                  \
        tile(sums, in, weights, n, width, step);                                                 \
        break;
/* Tiles as equal as can be: eight columns at most. */
#define STRIP(step)                                                                              \
    static void strip_##step(int32_t *sums, const int16_t *in, const int8_t *weights,            \
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
STRIP(0) STRIP(1) STRIP(2)

TS_HIDDEN void TS_NAME(tunesmith_wide_depthwise)(
    int32_t *sums, const int16_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    const nest n = {taps_y, taps_x, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    const int three = taps_x == 3;
    int32_t lane;
    for (lane = 0; lane < lanes; lane += LANES) {
        /* The last register goes back over lanes that are done: their sums are the same. */
        const int32_t first = lane + LANES <= lanes ? lane : lanes - LANES;
        int32_t *to = sums + first;
        const int16_t *from = in + first;
        const int8_t *factors = weights + first;
        if (first < 0) {
            break;
        }
        if (three && in_column == in_x) {
            strip_1(to, from, factors, &n, columns);
        } else if (three && in_column == 2 * in_x) {
            strip_2(to, from, factors, &n, columns);
        } else {
            strip_0(to, from, factors, &n, columns);
        }
    }
    for (lane = 0; lanes < LANES && lane < lanes; lane++) {
        one_lane(sums + lane, in + lane, weights + lane, &n, columns);
    }
}
