/* Exact sums over taps of depthwise convolutions of int8 in scalable vectors (Arm SVE), for any
 * vector length.
 *
 * sums[column][lane] = sum over y, x of in[column + y + x][lane] * weights[y + x][lane]
 *
 * Lanes lie together in all three. Where there are three taps a row, the inputs of four neighbours
 * are interleaved, so that one instruction sums a row of taps for a vector of lanes: those of the
 * first with weights k0 k1 k2 0, those of the second, one input on, with 0 k0 k1 k2. Vectors of 128
 * bits are left to `dot_depthwise.c`: instructions of Advanced SIMD need no predicates, and load
 * and store two of them. */
#include "runtime.h"

#include <arm_sve.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define MOST_TAPS 7           /* down, whose weights are interleaved */
#define MOST_VECTOR_BYTES 256 /* of 2,048 bits */
/* Vectors of interleaved weights: for the first input of four, low and high half of the lanes, and
 * for the second one. */
#define OF_A_ROW 4

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define PAIRS(OP) COLUMNS(OP) OP(8)
#define START(c) svint32_t low##c = zero, high##c = zero;
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        svst1_s32(low_lanes, sums + c * column, low##c);                                         \
        svst1_vnum_s32(high_lanes, sums + c * column, 1, high##c);                               \
    }
#define INPUT(place) svld1_s8(some, at + (place) * in_x)
/* Inputs 2 p and 2 p + 1, or twice the last one: the other has no weight. */
#define PAIR(p)                                                                                  \
    const svint8_t pair##p =                                                                     \
        p <= last ? svzip1_s8(INPUT(2 * p), INPUT(2 * p < most ? 2 * p + 1 : most)) : nothing;
#define FOUR(p, q)                                                                               \
    const svint8_t four_low = svreinterpret_s8_s16(                                              \
        svzip1_s16(svreinterpret_s16_s8(pair##p), svreinterpret_s16_s8(pair##q)));               \
    const svint8_t four_high = svreinterpret_s8_s16(                                             \
        svzip2_s16(svreinterpret_s16_s8(pair##p), svreinterpret_s16_s8(pair##q)));
#define DOT(c, which)                                                                            \
    low##c = svdot_s32(low##c, four_low, which##_low);                                           \
    high##c = svdot_s32(high##c, four_high, which##_high);
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

/* `columns` and `step`, the inputs from a column to the next one, 1 or 2, are constants wherever
 * this is called. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *at, const int8_t *weights, const nest *n,
                        int32_t lanes, const int columns, const int step)
{
    const int most = step * (columns - 1) + 2; /* the last input that is read */
    const int last = most / 2;
    const svbool_t all = svptrue_b8(), some = svwhilelt_b8_s32(0, lanes);
    const svbool_t low_lanes = svwhilelt_b32_s32(0, lanes);
    const svbool_t high_lanes = svwhilelt_b32_s32((int32_t)svcntw(), lanes);
    const svint8_t nothing = svdup_n_s8(0);
    const int64_t in_x = n->in_x, in_y = n->in_y, column = n->sums_column;
    svint32_t zero = svdup_n_s32(0);
    int32_t y;
    __asm__("" : "+w"(zero)); /* else each sum starts with an instruction of Advanced SIMD */
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        const svint8_t first_low = svld1_vnum_s8(all, weights, 0);
        const svint8_t first_high = svld1_vnum_s8(all, weights, 1);
        const svint8_t second_low = svld1_vnum_s8(all, weights, 2);
        const svint8_t second_high = svld1_vnum_s8(all, weights, 3);
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
        at += in_y;
        weights += OF_A_ROW * svcntb();
    }
    COLUMNS(STORE)
}

/* Weights of the lanes of two vectors of sums, as `tile` reads them. */
static void interleave(int8_t *to, const int8_t *weights, const nest *n, int32_t lanes)
{
    const svbool_t all = svptrue_b8(), some = svwhilelt_b8_s32(0, lanes);
    const svint8_t none = svdup_n_s8(0);
    int32_t y;
    for (y = 0; y < n->taps_y; y++) {
        const int8_t *from = weights + y * n->weight_y;
        const svint8_t k0 = svld1_s8(some, from), k1 = svld1_s8(some, from + n->weight_x);
        const svint8_t k2 = svld1_s8(some, from + 2 * n->weight_x);
        const svint16_t k01 = svreinterpret_s16_s8(svzip1_s8(k0, k1));
        const svint16_t k2_ = svreinterpret_s16_s8(svzip1_s8(k2, none));
        const svint16_t _k0 = svreinterpret_s16_s8(svzip1_s8(none, k0));
        const svint16_t k12 = svreinterpret_s16_s8(svzip1_s8(k1, k2));
        svst1_vnum_s8(all, to, 0, svreinterpret_s8_s16(svzip1_s16(k01, k2_)));
        svst1_vnum_s8(all, to, 1, svreinterpret_s8_s16(svzip2_s16(k01, k2_)));
        svst1_vnum_s8(all, to, 2, svreinterpret_s8_s16(svzip1_s16(_k0, k12)));
        svst1_vnum_s8(all, to, 3, svreinterpret_s8_s16(svzip2_s16(_k0, k12)));
        to += OF_A_ROW * svcntb();
    }
}

#define CASE(width, step)                                                                        \
    case width:                                                                                  \
        tile(sums, in, weights, n, lanes, width, step);                                          \
        break;
/* Tiles as equal as can be: eight columns at most. */
#define STRIP(step)                                                                              \
    static void strip_##step(int32_t *sums, const int8_t *in, const int8_t *weights,             \
                             const nest *n, int32_t lanes, int32_t columns)                      \
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

/* Any taps, one vector of sums. */
static void plain_strip(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        int32_t lanes, int32_t columns)
{
    const svbool_t some = svwhilelt_b32_s32(0, lanes);
    for (; columns > 0; columns--) {
        svint32_t sum = svdup_n_s32(0);
        int32_t y, x;
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                sum = svmla_s32_x(some, sum, svld1sb_s32(some, in + y * n->in_y + x * n->in_x),
                                  svld1sb_s32(some, weights + y * n->weight_y + x * n->weight_x));
            }
        }
        svst1_s32(some, sums, sum);
        sums += n->sums_column;
        in += n->in_column;
    }
}

TS_HIDDEN void TS_NAME(tunesmith_dot_depthwise)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x);

TS_HIDDEN void TS_NAME(tunesmith_sve_dot_depthwise)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    const nest n = {taps_y, taps_x, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    const int step = in_column == in_x ? 1 : in_column == 2 * in_x ? 2 : 0;
    const int32_t width = (int32_t)svcntw();
    int8_t interleaved[MOST_TAPS * OF_A_ROW * MOST_VECTOR_BYTES];
    int32_t lane;
    if (width == 4 && lanes >= 8) {
        TS_NAME(tunesmith_dot_depthwise)
        (sums, in, weights, columns, lanes, taps_y, taps_x, sums_column, in_column, in_y, in_x,
         weight_y, weight_x);
        return;
    }
    if (step == 0 || taps_x != 3 || taps_y > MOST_TAPS) {
        for (lane = 0; lane < lanes; lane += width) {
            plain_strip(sums + lane, in + lane, weights + lane, &n, lanes - lane, columns);
        }
        return;
    }
    for (lane = 0; lane < lanes; lane += 2 * width) {
        const int32_t left = lanes - lane < 2 * width ? lanes - lane : 2 * width;
        interleave(interleaved, weights + lane, &n, left);
        if (step == 1) {
            strip_1(sums + lane, in + lane, interleaved, &n, left, columns);
        } else {
            strip_2(sums + lane, in + lane, interleaved, &n, left, columns);
        }
    }
}
