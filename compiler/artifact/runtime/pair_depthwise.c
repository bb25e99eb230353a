/* Exact depthwise sums of small integers, two channels in a word (Arm DSP extension).
 *
 * sums[column][lane] = sum over y, x of rows[column + y + x][lane] * weights[y][x][lane]
 *
 * Two lanes: a word of inputs is one position of both, int16; so becomes a tap of weights, once for
 * all columns. Without the extension the same sums in plain C. */
#include "runtime.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { MOST_TAPS = 32 }; /* unpacked at a time: 128 bytes of stack */

/* Strides in elements of int16, two for each position. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int32_t in_column, in_y, in_x;
} nest;

ALWAYS_INLINE int32_t word(const int16_t *at)
{
    int32_t both;
    memcpy(&both, at, sizeof both);
    return both;
}

#if defined(__ARM_FEATURE_DSP)
ALWAYS_INLINE void add(int32_t *sums, int32_t inputs, int32_t weights)
{
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sums[0]) : "r"(inputs), "r"(weights));
    __asm__("smlatt %0, %1, %2, %0" : "+r"(sums[1]) : "r"(inputs), "r"(weights));
}
#else
ALWAYS_INLINE void add(int32_t *sums, int32_t inputs, int32_t weights)
{
    int16_t x[2], w[2];
    memcpy(x, &inputs, sizeof x);
    memcpy(w, &weights, sizeof w);
    sums[0] += x[0] * w[0];
    sums[1] += x[1] * w[1];
}
#endif

/* `columns`, `taps_x` and `step` are constants where this is called with others than the nest's:
 * with them neighbours share inputs. They are positions of a row between two columns. */
ALWAYS_INLINE void tile(int32_t *to, int32_t sums_column, const int16_t *in,
                        const int32_t *weights, const nest *n, const int columns,
                        const int taps_x, const int step)
{
    int32_t sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    int32_t y, x;
    int c;
    for (y = 0; y < n->taps_y; y++) {
        const int16_t *at = in + y * n->in_y;
        if (taps_x > 0) {
            const int32_t w0 = weights[0], w1 = weights[1], w2 = weights[2];
            for (x = 0; x < (columns - 1) * step + 3; x++) {
                const int32_t inputs = word(at + 2 * x);
                for (c = 0; c < columns; c++) {
                    const int32_t tap = x - c * step;
                    if (tap == 0) add(sums + 2 * c, inputs, w0);
                    if (tap == 1) add(sums + 2 * c, inputs, w1);
                    if (tap == 2) add(sums + 2 * c, inputs, w2);
                }
            }
            weights += 3;
        } else {
            for (x = 0; x < n->taps_x; x++) {
                const int32_t w = *weights++;
                for (c = 0; c < columns; c++) {
                    add(sums + 2 * c, word(at + c * n->in_column), w);
                }
                at += n->in_x;
            }
        }
    }
    for (c = 0; c < columns; c++) {
        to[c * sums_column] = sums[2 * c];
        to[c * sums_column + 1] = sums[2 * c + 1];
    }
}

#define STRIP(name, taps, step)                                                                  \
    static void name(int32_t *sums, int32_t sums_column, const int16_t *in,                      \
                     const int32_t *weights, const nest *n, int32_t columns)                     \
    {                                                                                            \
        for (; columns >= 4; columns -= 4) {                                                     \
            tile(sums, sums_column, in, weights, n, 4, taps, step);                              \
            sums += 4 * sums_column;                                                             \
            in += 4 * n->in_column;                                                              \
        }                                                                                        \
        for (; columns > 0; columns--) {                                                         \
            tile(sums, sums_column, in, weights, n, 1, taps, step);                              \
            sums += sums_column;                                                                 \
            in += n->in_column;                                                                  \
        }                                                                                        \
    }
STRIP(any_strip, 0, 0)
STRIP(dense_strip, 3, 1)
STRIP(strided_strip, 3, 2)

TS_HIDDEN void TS_NAME(tunesmith_pair_depthwise)(
    int32_t *sums, const int16_t *in, const int8_t *weights, int32_t columns, int32_t taps_y,
    int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y, int32_t in_x,
    int32_t weight_y, int32_t weight_x)
{
    const nest n = {taps_y, taps_x, in_column, in_y, in_x};
    int32_t unpacked[MOST_TAPS];
    int32_t y, x;
    for (y = 0; y < taps_y; y++) {
        for (x = 0; x < taps_x; x++) {
            const int8_t *from = weights + y * weight_y + x * weight_x;
            const int16_t both[2] = {from[0], from[1]};
            unpacked[y * taps_x + x] = word(both);
        }
    }
    if (taps_x == 3 && in_x == 2 && in_column == 2) {
        dense_strip(sums, sums_column, in, unpacked, &n, columns);
    } else if (taps_x == 3 && in_x == 2 && in_column == 4) {
        strided_strip(sums, sums_column, in, unpacked, &n, columns);
    } else {
        any_strip(sums, sums_column, in, unpacked, &n, columns);
    }
}
