/* Exact sums over taps of depthwise convolutions of int8 (any processor).
 *
 * sums[row][column][lane] = sum over y, x of in[row + column + y + x][lane] * weights[y + x][lane]
 *
 * Lanes lie together in all three. Of three by three taps the weights of a lane and two sums stay in
 * registers: each input of a row is loaded once. */
#include "runtime.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int64_t sums_column, in_column, in_y, in_x;
    int64_t weight_y, weight_x;
    int32_t columns, rows;
    int64_t sums_row, in_row;
} nest;

/* The inputs of a column. Pointers are hidden: compilers would compute them from each other. */
#define NEXT                                                                                     \
    x0 = *row0, x1 = *row1, x2 = *row2;                                                          \
    row0 += n->in_x, row1 += n->in_x, row2 += n->in_x;                                           \
    __asm__ volatile("" : "+r"(row0), "+r"(row1), "+r"(row2) : : "memory");
#define TAPS(k) (x0 * w0##k + x1 * w1##k + x2 * w2##k)

/* `step`, the inputs from a column to the next one, 1 or 2, is a constant wherever this is called.
 * An input is added to all the sums that it is part of: those are fewer than a column's inputs. */
ALWAYS_INLINE void three_by_three(int32_t *sums, const int8_t *in, const int8_t *weights,
                                  const nest *n, const int step)
{
    const int8_t *down = weights + n->weight_y, *last = down + n->weight_y;
    const int32_t w00 = weights[0], w01 = weights[n->weight_x], w02 = weights[2 * n->weight_x];
    const int32_t w10 = down[0], w11 = down[n->weight_x], w12 = down[2 * n->weight_x];
    const int32_t w20 = last[0], w21 = last[n->weight_x], w22 = last[2 * n->weight_x];
    int32_t row;
    for (row = 0; row < n->rows; row++) {
        const int8_t *row0 = in + row * n->in_row, *row1 = row0 + n->in_y, *row2 = row1 + n->in_y;
        int32_t *to = sums + row * n->sums_row;
        const int32_t *const end = to + n->columns * n->sums_column;
        int32_t x0, x1, x2, sum, following;
        NEXT
        sum = TAPS(0);
        if (step == 1) {
            NEXT
            sum += TAPS(1);
            following = TAPS(0);
            do {
                NEXT
                *to = sum + TAPS(2);
                sum = following + TAPS(1);
                following = TAPS(0);
                to += n->sums_column;
            } while (to != end);
        } else {
            do {
                NEXT
                sum += TAPS(1);
                NEXT
                *to = sum + TAPS(2);
                sum = TAPS(0);
                to += n->sums_column;
            } while (to != end);
        }
    }
}

static void neighbours(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n)
{
    const nest own = *n;
    three_by_three(sums, in, weights, &own, 1);
}

static void every_second(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n)
{
    const nest own = *n;
    three_by_three(sums, in, weights, &own, 2);
}

static void any_taps(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n)
{
    int32_t i, y, x;
    for (i = 0; i < n->rows * n->columns; i++) {
        const int32_t row = i / n->columns, column = i % n->columns;
        int32_t sum = 0;
        for (y = 0; y < n->taps_y; y++) {
            const int8_t *at = in + row * n->in_row + column * n->in_column + y * n->in_y;
            const int8_t *from = weights + y * n->weight_y;
            for (x = 0; x < n->taps_x; x++) {
                sum += *at * *from;
                at += n->in_x;
                from += n->weight_x;
            }
        }
        sums[row * n->sums_row + column * n->sums_column] = sum;
    }
}

TS_HIDDEN void TS_NAME(tunesmith_plain_depthwise)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x, int32_t rows, int32_t sums_row,
    int32_t in_row)
{
    const nest n = {taps_y,   taps_x,   sums_column, in_column, in_y,     in_x,
                    weight_y, weight_x, columns,     rows,      sums_row, in_row};
    const int three = taps_y == 3 && taps_x == 3;
    int32_t lane;
    for (lane = 0; lane < lanes; lane++) {
        if (three && in_column == in_x) {
            neighbours(sums + lane, in + lane, weights + lane, &n);
        } else if (three && in_column == 2 * in_x) {
            every_second(sums + lane, in + lane, weights + lane, &n);
        } else {
            any_taps(sums + lane, in + lane, weights + lane, &n);
        }
    }
}
