/* Exact sums of products of small integers, three sums in a word of 64 bits (any processor).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + k] * weights[y + x][k][lane]
 *
 * Inputs and weights are int8; lanes, 4 or 8, lie together in weights and sums. The weights of three
 * lanes are 21 bits apart in a word, so that one product and one sum are those of three lanes; what
 * is below a field borrows from it, which is put right when the fields are taken apart. Weights are
 * at least -127: then 64 products fit a field, 64 * 127 * 128 < 2**20. A single column's weights are
 * not joined. */
#include "runtime.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define FIELD 21
#define HALF ((uint64_t)1 << (FIELD - 1)) /* makes the borrowed one good, one field higher */
#define DEPTH 64
#define MOST_WORDS 3

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x, depth;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
} nest;

/* What is summed before the fields are taken apart: `rows` of taps, `depth` products in each. */
typedef struct part {
    const uint64_t *words;
    int32_t rows, depth;
    int add; /* to sums that are there */
} part;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3)
#define START(c) uint64_t a##c##_0 = 0, a##c##_1 = 0, a##c##_2 = 0;
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        int32_t *const to = sums + c * (int64_t)n->sums_column;                                  \
        store(to, a##c##_0, 3, of->add);                                                         \
        store(to + 3, a##c##_1, words == 3 ? 3 : 1, of->add);                                    \
        if (words == 3) {                                                                        \
            store(to + 6, a##c##_2, 2, of->add);                                                 \
        }                                                                                        \
    }
/* A pointer for each column, which a compiler would else compute from another one. */
#define POINT(c)                                                                                 \
    const int8_t *at##c =                                                                        \
        in + y * (int64_t)n->in_y + (c < columns ? c * (int64_t)n->in_column : 0);
#define STEP(c)                                                                                  \
    if (c < columns) {                                                                           \
        at##c += INPUTS;                                                                         \
        __asm__("" : "+r"(at##c));                                                               \
    }
/* The products of a column are summed before those of the next one: compilers would multiply all
 * first, for which there are no registers. */
#define ADD(c)                                                                                   \
    if (c < columns) {                                                                           \
        const uint64_t x = (uint64_t)(int64_t)at##c[INPUT];                                      \
        a##c##_0 += x * w0;                                                                      \
        a##c##_1 += x * w1;                                                                      \
        a##c##_2 += x * w2;                                                                      \
        __asm__ volatile("" : "+r"(a##c##_0), "+r"(a##c##_1), "+r"(a##c##_2) : : "memory");      \
    }
#define ONE_INPUT                                                                                \
    {                                                                                            \
        const uint64_t w0 = from[INPUT * words], w1 = from[INPUT * words + 1];                   \
        const uint64_t w2 = words == 3 ? from[INPUT * words + 2] : 0;                            \
        COLUMNS(ADD)                                                                             \
    }

/* `count` fields of a word. */
ALWAYS_INLINE void store(int32_t *to, uint64_t word, const int count, const int add)
{
    const int32_t first = (int32_t)((int64_t)(word << (64 - FIELD)) >> (64 - FIELD));
    const int32_t second =
        (int32_t)((int64_t)((word + HALF) << (64 - 2 * FIELD)) >> (64 - FIELD));
    const int32_t third = (int32_t)((int64_t)(word + (HALF << FIELD)) >> (2 * FIELD));
    to[0] = add ? to[0] + first : first;
    if (count > 1) {
        to[1] = add ? to[1] + second : second;
    }
    if (count > 2) {
        to[2] = add ? to[2] + third : third;
    }
}

/* Constants wherever this is called: `words` of the lanes, `columns`. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const nest *n, const part *of,
                        const int words, const int columns)
{
    const uint64_t *from = of->words;
    int32_t y, i;
    COLUMNS(START)
    for (y = 0; y < of->rows; y++) {
        COLUMNS(POINT)
        for (i = of->depth >> 2; i > 0; i--) {
#define INPUT 0
            ONE_INPUT
#undef INPUT
#define INPUT 1
            ONE_INPUT
#undef INPUT
#define INPUT 2
            ONE_INPUT
#undef INPUT
#define INPUT 3
            ONE_INPUT
#undef INPUT
#define INPUTS 4
            COLUMNS(STEP)
#undef INPUTS
            from += 4 * words;
        }
        for (i = of->depth & 3; i > 0; i--) {
#define INPUT 0
            ONE_INPUT
#undef INPUT
#define INPUTS 1
            COLUMNS(STEP)
#undef INPUTS
            from += words;
        }
    }
    COLUMNS(STORE)
}

#define STRIP(words)                                                                             \
    static void strip_##words(int32_t *sums, const int8_t *in, const nest *given,                \
                              const part *of, int32_t columns)                                   \
    {                                                                                            \
        const nest n = *given;                                                                   \
        for (; columns >= 4; columns -= 4) {                                                     \
            tile(sums, in, &n, of, words, 4);                                                    \
            sums += 4 * n.sums_column;                                                           \
            in += 4 * n.in_column;                                                               \
        }                                                                                        \
        for (; columns > 0; columns--) {                                                         \
            tile(sums, in, &n, of, words, 1);                                                    \
            sums += n.sums_column;                                                               \
            in += n.in_column;                                                                   \
        }                                                                                        \
    }
STRIP(2) STRIP(3)

ALWAYS_INLINE uint64_t word_of(const int8_t *fields, const int count)
{
    uint64_t word = (uint64_t)(int64_t)fields[0];
    word += count > 1 ? (uint64_t)(int64_t)fields[1] << FIELD : 0;
    return word + (count > 2 ? (uint64_t)(int64_t)fields[2] << (2 * FIELD) : 0);
}

/* Weights [depth][lanes] as words [depth][2 or 3]; `lanes` is a constant wherever this is called. */
ALWAYS_INLINE void join(uint64_t *words, const int8_t *weights, int32_t depth, const int lanes)
{
    for (; depth > 0; depth--) {
        words[0] = word_of(weights, 3);
        words[1] = word_of(weights + 3, lanes == 8 ? 3 : 1);
        if (lanes == 8) {
            words[2] = word_of(weights + 6, 2);
        }
        words += lanes == 8 ? 3 : 2;
        weights += lanes;
    }
}

/* Part after part of one column of taps: rows of them, or the depth of one. */
ALWAYS_INLINE void column_of_taps(int32_t *sums, const int8_t *in, const int8_t *weights,
                                  const nest *n, int32_t columns, const int lanes, int add)
{
    uint64_t words[DEPTH * MOST_WORDS];
    const int32_t most_rows = n->depth < DEPTH ? DEPTH / n->depth : 1;
    const int64_t down = n->weight_y;
    int32_t y, k, row;
    for (y = 0; y < n->taps_y; y += most_rows) {
        const int32_t rows = n->taps_y - y < most_rows ? n->taps_y - y : most_rows;
        for (k = 0; k < n->depth; k += DEPTH) {
            const int32_t depth = n->depth - k < DEPTH ? n->depth - k : DEPTH;
            const part of = {words, rows, depth, add || y > 0 || k > 0};
            const int8_t *const at = in + y * (int64_t)n->in_y + k;
            const int8_t *from = weights + y * down + (int64_t)k * lanes;
            for (row = 0; row < rows; row++) {
                join(words + row * depth * (lanes == 8 ? 3 : 2), from + row * down, depth, lanes);
            }
            if (lanes == 8) {
                strip_3(sums, at, n, &of, columns);
            } else {
                strip_2(sums, at, n, &of, columns);
            }
        }
    }
}

/* One column reads each weight once, which joining them first does not repay. `lanes` is a constant
 * wherever this is called. */
ALWAYS_INLINE void one_column(int32_t *sums, const int8_t *in, const int8_t *weights,
                              const nest *n, const int lanes, int add)
{
    int32_t a[8];
    int32_t y, k;
    int lane;
    for (lane = 0; lane < lanes; lane++) {
        a[lane] = add ? sums[lane] : 0;
    }
    for (y = 0; y < n->taps_y; y++) {
        const int8_t *const at = in + y * (int64_t)n->in_y;
        const int8_t *from = weights + y * (int64_t)n->weight_y;
        for (k = 0; k < n->depth; k++) {
            const int32_t x = at[k];
            for (lane = 0; lane < lanes; lane++) {
                a[lane] += x * from[lane];
            }
            from += lanes;
        }
    }
    for (lane = 0; lane < lanes; lane++) {
        sums[lane] = a[lane];
    }
}

ALWAYS_INLINE void any_columns(int32_t *sums, const int8_t *in, const int8_t *weights,
                               const nest *n, int32_t columns, const int lanes, int add)
{
    if (columns == 1) {
        one_column(sums, in, weights, n, lanes, add);
    } else {
        column_of_taps(sums, in, weights, n, columns, lanes, add);
    }
}

TS_HIDDEN void TS_NAME(tunesmith_word_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t depth, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, depth, sums_column, in_column, in_y, in_x, weight_y, weight_x};
    int32_t x;
    if (in_x == depth) { /* taps of a row lie together, as their weights do */
        n.depth *= taps_x;
        n.taps_x = 1;
    } else if (taps_y == 1) { /* a column of taps by another name */
        n.taps_y = taps_x, n.in_y = in_x, n.weight_y = weight_x;
        n.taps_x = 1;
    }
    for (x = 0; x < n.taps_x; x++) {
        const int8_t *const at = in + x * (int64_t)in_x;
        const int8_t *const from = weights + x * (int64_t)weight_x;
        if (lanes == 8) {
            any_columns(sums, at, from, &n, columns, 8, x > 0);
        } else {
            any_columns(sums, at, from, &n, columns, 4, x > 0);
        }
    }
}
