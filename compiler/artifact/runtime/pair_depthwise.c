/* Exact depthwise sums of small integers, two channels in a word (Arm DSP extension).
 *
 * sums[column][lane] = sum over y, x of rows[column + y + x][lane] * weights[y][x][lane]
 *
 * Two lanes: a word of inputs is one position of both, int16, and so is a tap of weights. Without
 * the extension the same sums in plain C. */
#include "runtime.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NEVER_INLINE static __attribute__((noinline)) /* registers are for its sums alone */

/* Strides in elements. */
typedef struct nest {
    int32_t columns, taps_y, taps_x;
    int32_t in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

#if defined(__ARM_FEATURE_DSP)
/* Volatile: in this order, in which an input dies before the next is loaded. */
ALWAYS_INLINE int32_t word(const int16_t *at)
{
    int32_t both;
    __asm__ volatile("ldr %0, %1" : "=r"(both) : "m"(*(const int16_t(*)[2])at));
    return both;
}

ALWAYS_INLINE void add(int32_t *sums, int32_t inputs, int32_t weights)
{
    __asm__ volatile("smlabb %0, %1, %2, %0" : "+r"(sums[0]) : "r"(inputs), "r"(weights));
    __asm__ volatile("smlatt %0, %1, %2, %0" : "+r"(sums[1]) : "r"(inputs), "r"(weights));
}
#else
ALWAYS_INLINE int32_t word(const int16_t *at)
{
    int32_t both;
    memcpy(&both, at, sizeof both);
    return both;
}

ALWAYS_INLINE void add(int32_t *sums, int32_t inputs, int32_t weights)
{
    int16_t x[2], w[2];
    memcpy(x, &inputs, sizeof x);
    memcpy(w, &weights, sizeof w);
    sums[0] += x[0] * w[0];
    sums[1] += x[1] * w[1];
}
#endif

/* Columns and positions are written out, not looped over, so that the sums are registers. */
#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3)
#define POSITIONS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8)
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        to[2 * c] = sums[2 * c];                                                                 \
        to[2 * c + 1] = sums[2 * c + 1];                                                         \
    }
#define ADD_ANY(c)                                                                               \
    if (c < columns) add(sums + 2 * c, word(at + c * n->in_column), w);
#define TAP(x, c)                                                                                \
    if (c < columns && x == c * step) add(sums + 2 * c, inputs, w0);                             \
    if (c < columns && x == c * step + 1) add(sums + 2 * c, inputs, w1);                         \
    if (c < columns && x == c * step + 2) add(sums + 2 * c, inputs, w2);
#define ADD_THREE(x)                                                                             \
    if (x < (columns - 1) * step + 3) {                                                          \
        const int32_t inputs = word(at + 2 * x);                                                 \
        TAP(x, 0) TAP(x, 1) TAP(x, 2) TAP(x, 3)                                                  \
    }

/* `columns` and `step` are constants where this is called. A step is what lies between two
 * columns, in positions, where a row has three taps: neighbours share inputs. 0: anything else. */
ALWAYS_INLINE void tile(int32_t *to, const int16_t *in, const int16_t *weights, const nest *n,
                        const int columns, const int step)
{
    int32_t sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    int32_t y, x;
    for (y = n->taps_y; y > 0; y--) {
        const int16_t *at = in;
        if (step > 0) {
            const int32_t w0 = word(weights), w1 = word(weights + n->weight_x);
            const int32_t w2 = word(weights + 2 * n->weight_x);
            in += n->in_y;
            weights += n->weight_y;
            POSITIONS(ADD_THREE)
        } else {
            for (x = 0; x < n->taps_x; x++) {
                const int32_t w = word(weights + x * n->weight_x);
                COLUMNS(ADD_ANY)
                at += n->in_x;
            }
            in += n->in_y;
            weights += n->weight_y;
        }
    }
    COLUMNS(STORE)
}

#define STRIP(name, step)                                                                        \
    NEVER_INLINE void name(int32_t *sums, const int16_t *in, const int16_t *weights,             \
                           const nest *n)                                                        \
    {                                                                                            \
        int32_t columns = n->columns;                                                            \
        for (; columns >= 4; columns -= 4) {                                                     \
            tile(sums, in, weights, n, 4, step);                                                 \
            sums += 8;                                                                           \
            in += 4 * n->in_column;                                                              \
        }                                                                                        \
        if (columns >= 2) {                                                                      \
            tile(sums, in, weights, n, 2, step);                                                 \
            sums += 4;                                                                           \
            in += 2 * n->in_column;                                                              \
        }                                                                                        \
        if (columns & 1) {                                                                       \
            tile(sums, in, weights, n, 1, step);                                                 \
        }                                                                                        \
    }
STRIP(any_strip, 0)
STRIP(dense_strip, 1)
STRIP(strided_strip, 2)

TS_HIDDEN void TS_NAME(tunesmith_pair_depthwise)(
    int32_t *sums, const int16_t *in, const int16_t *weights, int32_t columns, int32_t taps_y,
    int32_t taps_x, int32_t in_column, int32_t in_y, int32_t in_x, int32_t weight_y,
    int32_t weight_x)
{
    const nest n = {columns, taps_y, taps_x, in_column, in_y, in_x, weight_y, weight_x};
    if (taps_x == 3 && in_x == 2 && in_column == 2) {
        dense_strip(sums, in, weights, &n);
    } else if (taps_x == 3 && in_x == 2 && in_column == 4) {
        strided_strip(sums, in, weights, &n);
    } else {
        any_strip(sums, in, weights, &n);
    }
}
