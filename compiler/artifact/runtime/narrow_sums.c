/* Exact sums of products of small integers for 64-bit Arm without dot products (NEON).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + 8 chunk + k] *
 *                                          weights[y + x][chunk][lane][k]
 *
 * Inputs and weights are int8, weights at least -127: then two products fit 16 bits, and eight such
 * pairs are added to four sums of 32 bits. Lanes are a multiple of four. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LANES 4 /* of a tile */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x, chunks;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x, weight_chunk;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3)
#define SUMS(c) int32x4_t a##c##_0, a##c##_1, a##c##_2, a##c##_3;
#define ZERO(c) a##c##_0 = a##c##_1 = a##c##_2 = a##c##_3 = vdupq_n_s32(0);
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        vst1q_s32(sums + c * n->sums_column,                                                     \
                  vpaddq_s32(vpaddq_s32(a##c##_0, a##c##_1), vpaddq_s32(a##c##_2, a##c##_3)));   \
    }
/* What a column reads is loaded when the sums of the one before it are done: compilers would load
 * for all columns first, for which there are no registers. They would also compute pointers of
 * columns from each other, where each can grow by itself as it is read. */
#define KEEP(c)                                                                                  \
    __asm__ volatile("" : "+w"(a##c##_0), "+w"(a##c##_1), "+w"(a##c##_2), "+w"(a##c##_3),        \
                          "+r"(at##c) : : "memory");
#define POINT(c) const int8_t *at##c = at + (c < columns ? c * (int64_t)n->in_column : 0);
#define PAIR(l) vmlal_s8(vmull_s8(w.val[l], one), v.val[l], other)
#define SINGLE(l) vmull_s8(w.val[l], one)
#define ADD(c, l, PRODUCTS) a##c##_##l = vpadalq_s16(a##c##_##l, PRODUCTS(l));
#define FIRST(c, l, PRODUCTS) a##c##_##l = vpaddlq_s16(PRODUCTS(l));
#define TWO_CHUNKS(c, SUM)                                                                       \
    if (c < columns) {                                                                           \
        const int8x8_t one = vld1_s8(at##c), other = vld1_s8(at##c + 8);                         \
        at##c += 16;                                                                             \
        SUM(c, 0, PAIR) SUM(c, 1, PAIR) SUM(c, 2, PAIR) SUM(c, 3, PAIR)                          \
        KEEP(c)                                                                                  \
    }
#define ONE_CHUNK(c, SUM)                                                                        \
    if (c < columns) {                                                                           \
        const int8x8_t one = vld1_s8(at##c);                                                     \
        SUM(c, 0, SINGLE) SUM(c, 1, SINGLE) SUM(c, 2, SINGLE) SUM(c, 3, SINGLE)                  \
        KEEP(c)                                                                                  \
    }
#define OF_COLUMNS(STEP, SUM) STEP(0, SUM) STEP(1, SUM) STEP(2, SUM) STEP(3, SUM)
#define TWO(SUM)                                                                                 \
    {                                                                                            \
        const int8x8x4_t w = vld1_s8_x4(from), v = vld1_s8_x4(from + n->weight_chunk);           \
        from += 2 * n->weight_chunk;                                                             \
        OF_COLUMNS(TWO_CHUNKS, SUM)                                                              \
    }
#define ONE(SUM)                                                                                 \
    {                                                                                            \
        const int8x8x4_t w = vld1_s8_x4(from);                                                   \
        OF_COLUMNS(ONE_CHUNK, SUM)                                                               \
    }

/* `columns` and `one_tap` are constants wherever this is called: what they leave out is no code. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        const int columns, const int one_tap)
{
    const int32_t taps_y = one_tap ? 1 : n->taps_y, taps_x = one_tap ? 1 : n->taps_x;
    int32_t y, x, i;
    COLUMNS(SUMS)
    if (!one_tap) {
        COLUMNS(ZERO)
    }
    for (y = 0; y < taps_y; y++) {
        for (x = 0; x < taps_x; x++) {
            const int8_t *at = in + y * n->in_y + x * n->in_x;
            const int8_t *from = weights + y * n->weight_y + x * n->weight_x;
            COLUMNS(POINT)
            i = n->chunks;
            if (one_tap) {
                if (i == 1) {
                    ONE(FIRST)
                    break;
                }
                TWO(FIRST)
                i -= 2;
            }
            for (; i > 1; i -= 2) {
                TWO(ADD)
            }
            if (i > 0) {
                ONE(ADD)
            }
        }
    }
    COLUMNS(STORE)
}

ALWAYS_INLINE void strip(int32_t *sums, const int8_t *in, const int8_t *weights, const nest n,
                         int32_t columns, const int one_tap)
{
    for (; columns >= 4; columns -= 4) {
        tile(sums, in, weights, &n, 4, one_tap);
        sums += 4 * n.sums_column;
        in += 4 * n.in_column;
    }
    switch (columns) {
    case 1:
        tile(sums, in, weights, &n, 1, one_tap);
        break;
    case 2:
        tile(sums, in, weights, &n, 2, one_tap);
        break;
    case 3:
        tile(sums, in, weights, &n, 3, one_tap);
        break;
    }
}

static void strip_of_one_tap(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                             int32_t columns)
{
    strip(sums, in, weights, *n, columns, 1);
}

static void strip_of_taps(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                          int32_t columns)
{
    strip(sums, in, weights, *n, columns, 0);
}

TS_HIDDEN void TS_NAME(tunesmith_narrow_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, chunks, sums_column, in_column, in_y, in_x, weight_y, weight_x,
              8 * lanes};
    int32_t lane;
    if (in_x == 8 * chunks) { /* taps of a row lie together, as their weights do */
        n.chunks *= taps_x;
        n.taps_x = 1;
    }
    for (lane = 0; lane < lanes; lane += LANES) {
        if (n.taps_y == 1 && n.taps_x == 1) {
            strip_of_one_tap(sums + lane, in, weights + 8 * lane, &n, columns);
        } else {
            strip_of_taps(sums + lane, in, weights + 8 * lane, &n, columns);
        }
    }
}
