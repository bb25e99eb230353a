/* Exact sums of products of small integers, two products an instruction (Arm DSP extension).
 *
 * sums[column][block][lane] = sum over y, x, k of rows[column + y + x + k] * weights[block][y][x][k][lane]
 *
 * A block is two lanes, sums of neighbouring columns lie together. Inputs are int16 and lie together along k, as do the weights, int8, two
 * lanes for each k: a word of weights is two k of both lanes, sorted by two SXTB16. Without the
 * extension the same sums in plain C. */
#include "runtime.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NEVER_INLINE static __attribute__((noinline)) /* registers are for its sums alone */

/* In elements. A tap's run is `whole / 2` products in steps of four, then `rest`; a skip leads from
 * the end of one tap's run to the next tap's. */
typedef struct nest {
    int32_t taps, whole, rest;
    int32_t in_column, in_skip, weight_skip;
    int32_t goes_on; /* the sums so far are in memory */
} nest;

/* Columns are written out, not looped over, so that the sums are registers. */
#define COLUMNS(OP) OP(0) OP(1) OP(2)
#define LAST(c)                                                                                  \
    if (c < columns) {                                                                           \
        sums[2 * c] += at[c * n->in_column] * from[0];                                           \
        sums[2 * c + 1] += at[c * n->in_column] * from[1];                                       \
    }
#define GO_ON(c)                                                                                 \
    if (c < columns) {                                                                           \
        sums[2 * c] = to[2 * c];                                                                 \
        sums[2 * c + 1] = to[2 * c + 1];                                                         \
    }
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        to[2 * c] = sums[2 * c];                                                                 \
        to[2 * c + 1] = sums[2 * c + 1];                                                         \
    }

#if defined(__ARM_FEATURE_DSP)

/* Two k of one block: `low` has those of lane 0, `high` those of lane 1. */
#define WEIGHTS(from, low, high)                                                                 \
    __asm__("ldr %1, [%2], #4\n\tsxtb16 %0, %1\n\tsxtb16 %1, %1, ror #8"                         \
            : "=&r"(low), "=&r"(high), "+r"(from)                                                \
            :                                                                                    \
            : "memory")
#define PAIR(at, offset, low, high, sum0, sum1)                                                  \
    do {                                                                                         \
        int32_t pair;                                                                            \
        __asm__("ldr %0, " offset "\n\tsmlad %1, %0, %4, %1\n\tsmlad %2, %0, %5, %2"             \
                : "=&r"(pair), "+r"(sum0), "+r"(sum1), "+r"(at)                                  \
                : "r"(low), "r"(high), "r"(stride)                                               \
                : "memory");                                                                     \
    } while (0)
#define FIRST "[%3], #4" /* the last one read: the others are reached from it */
#define SECOND "[%3, %6]"
#define THIRD "[%3, %6, lsl #1]"

/* `columns` is a constant wherever this is called: what it leaves out is no code. */
ALWAYS_INLINE void step(const int16_t **at, const int8_t **from, int32_t stride, int32_t *sums,
                        const int columns)
{
    int32_t low, high;
    WEIGHTS(*from, low, high);
    if (columns > 2) PAIR(*at, THIRD, low, high, sums[4], sums[5]);
    if (columns > 1) PAIR(*at, SECOND, low, high, sums[2], sums[3]);
    PAIR(*at, FIRST, low, high, sums[0], sums[1]);
}

/* One column, two blocks. */
ALWAYS_INLINE void wide_step(const int16_t **at, const int8_t **from, const int8_t **other,
                             int32_t *sums)
{
    int32_t low, high, pair;
    memcpy(&pair, *at, sizeof pair);
    *at += 2;
    WEIGHTS(*from, low, high);
    __asm__("smlad %0, %1, %2, %0" : "+r"(sums[0]) : "r"(pair), "r"(low));
    __asm__("smlad %0, %1, %2, %0" : "+r"(sums[1]) : "r"(pair), "r"(high));
    WEIGHTS(*other, low, high);
    __asm__("smlad %0, %1, %2, %0" : "+r"(sums[2]) : "r"(pair), "r"(low));
    __asm__("smlad %0, %1, %2, %0" : "+r"(sums[3]) : "r"(pair), "r"(high));
}

#else

ALWAYS_INLINE void step(const int16_t **at, const int8_t **from, int32_t stride, int32_t *sums,
                        const int columns)
{
    int c, k;
    for (c = 0; c < columns; c++) {
        const int16_t *column = *at + c * (stride / 2);
        for (k = 0; k < 2; k++) {
            sums[2 * c] += column[k] * (*from)[2 * k];
            sums[2 * c + 1] += column[k] * (*from)[2 * k + 1];
        }
    }
    *at += 2;
    *from += 4;
}

ALWAYS_INLINE void wide_step(const int16_t **at, const int8_t **from, const int8_t **other,
                             int32_t *sums)
{
    const int16_t *same = *at;
    step(&same, from, 0, sums, 1);
    step(at, other, 0, sums + 2, 1);
}

#endif

ALWAYS_INLINE void tile(int32_t *to, const int16_t *at, const int8_t *from, const nest *n,
                        const int columns)
{
    const int32_t stride = n->in_column * 2;
    int32_t sums[6] = {0, 0, 0, 0, 0, 0};
    int32_t taps;
    if (n->goes_on) {
        COLUMNS(GO_ON)
    }
    for (taps = n->taps; taps > 0; taps--) {
        const int8_t *end = from + n->whole;
        if (from != end) { /* eight products a round, of the first perhaps four */
            if (n->whole & 8) goto second_half;
            do {
                step(&at, &from, stride, sums, columns);
                step(&at, &from, stride, sums, columns);
            second_half:
                step(&at, &from, stride, sums, columns);
                step(&at, &from, stride, sums, columns);
            } while (from != end);
        }
        if (n->rest) {
            if (n->rest & 2) step(&at, &from, stride, sums, columns);
            if (n->rest & 1) {
                COLUMNS(LAST)
            }
        }
        at += n->in_skip;
        from += n->weight_skip;
    }
    COLUMNS(STORE)
}

/* One column, two blocks: a load of inputs serves four lanes. */
NEVER_INLINE void wide_tile(int32_t *to, int32_t sums_block, const int16_t *at,
                            const int8_t *from, int32_t weight_block, const nest *n)
{
    int32_t sums[4] = {0, 0, 0, 0};
    const int8_t *other = from + weight_block;
    int32_t taps;
    if (n->goes_on) {
        sums[0] = to[0];
        sums[1] = to[1];
        sums[2] = to[sums_block];
        sums[3] = to[sums_block + 1];
    }
    for (taps = n->taps; taps > 0; taps--) {
        const int8_t *end = from + n->whole;
        while (from != end) {
            wide_step(&at, &from, &other, sums);
            wide_step(&at, &from, &other, sums);
        }
        if (n->rest & 2) {
            wide_step(&at, &from, &other, sums);
        }
        if (n->rest & 1) {
            sums[0] += at[0] * from[0];
            sums[1] += at[0] * from[1];
            sums[2] += at[0] * other[0];
            sums[3] += at[0] * other[1];
        }
        at += n->in_skip;
        from += n->weight_skip;
        other += n->weight_skip;
    }
    to[0] = sums[0];
    to[1] = sums[1];
    to[sums_block] = sums[2];
    to[sums_block + 1] = sums[3];
}

NEVER_INLINE void three_columns(int32_t *to, const int16_t *in, const int8_t *weights,
                                const nest *n)
{
    tile(to, in, weights, n, 3);
}

NEVER_INLINE void two_columns(int32_t *to, const int16_t *in, const int8_t *weights,
                              const nest *n)
{
    tile(to, in, weights, n, 2);
}

NEVER_INLINE void one_column(int32_t *to, const int16_t *in, const int8_t *weights,
                             const nest *n)
{
    tile(to, in, weights, n, 1);
}

/* The sums of two lanes, column after column. */
static void row(int32_t *to, const int16_t *in, const int8_t *weights, const nest *n,
                int32_t columns)
{
    for (; columns > 4 || columns == 3; columns -= 3) {
        three_columns(to, in, weights, n);
        to += 6;
        in += 3 * n->in_column;
    }
    for (; columns > 1; columns -= 2) {
        two_columns(to, in, weights, n);
        to += 4;
        in += 2 * n->in_column;
    }
    if (columns > 0) {
        one_column(to, in, weights, n);
    }
}

/* What one call computes, one column of taps after another where they are not one run. */
TS_HIDDEN void TS_NAME(tunesmith_pair_sums)(
    int32_t *sums, const int16_t *in, const int8_t *weights, int32_t columns, int32_t blocks,
    int32_t taps_y, int32_t taps_x, int32_t run, int32_t in_column, int32_t sums_block,
    int32_t weight_block, int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n;
    int32_t x, block;
    n.taps = taps_y;
    n.whole = 2 * (run & ~3);
    n.rest = run & 3;
    n.in_column = in_column;
    n.in_skip = in_y - (run & ~1);
    n.weight_skip = weight_y - 2 * (run & ~1);
    for (x = 0; x < taps_x; x++) {
        n.goes_on = x;
        for (block = 0; columns == 1 && block + 1 < blocks; block += 2) {
            wide_tile(sums + block * sums_block, sums_block, in, weights + block * weight_block,
                      weight_block, &n);
        }
        for (; block < blocks; block++) {
            row(sums + block * sums_block, in, weights + block * weight_block, &n, columns);
        }
        in += in_x;
        weights += weight_x;
    }
}
