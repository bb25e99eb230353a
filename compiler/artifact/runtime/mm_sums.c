/* Exact sums of products of small integers by products of matrices of 2 x 8 and 8 x 2, in vectors
 * of 128 bits (Arm int8 matrix multiplication).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + 8 chunk + k] *
 *                                          weights[y][x][chunk][lane][k]
 *
 * Inputs are int8 or uint8, weights int8; lanes, a multiple of four, lie together in sums. One
 * instruction multiplies eight inputs of two columns by those of two lanes. Columns are copied in
 * pairs to the stack, eight inputs of one and eight of the other, those of all pairs one behind the
 * other, for all lanes; a number of inputs at a time, so that the copy stays small. A tile of
 * vectors x pairs of sums stays in registers over all of these. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNIT 8        /* inputs of an instruction */
#define LANES 2       /* of a vector */
#define MOST_PAIRS 6  /* of columns; with four vectors of lanes: 4 x 6 + 6 + 2 registers */
#define MOST_UNITS 96 /* of a column that are copied at a time */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t lanes, taps_y, taps_x, chunks;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_chunk;
} nest;

/* Of a strip of columns, the inputs that were copied: [unit][pair][column of it][8]. */
typedef struct piece {
    int32_t begin, units, columns;
    int8_t pairs[2 * UNIT * MOST_PAIRS * MOST_UNITS];
} piece;

#define PAIRS_OF(OP, v) OP(v, 0) OP(v, 1) OP(v, 2) OP(v, 3) OP(v, 4) OP(v, 5)
#define ALL(OP) PAIRS_OF(OP, 0) PAIRS_OF(OP, 1) PAIRS_OF(OP, 2) PAIRS_OF(OP, 3)
#define START(v, p) int32x4_t a##v##_##p = zero;
/* A pointer is hidden from the compiler, which then adds to it in the load. */
#define NEXT(pointer, step)                                                                      \
    pointer += step;                                                                             \
    __asm__("" : "+r"(pointer));
#define PAIR(p) (p < 3 ? one.val[p % 3] : two.val[p % 3])
#define MULTIPLY(v, p)                                                                           \
    if (p < pairs) {                                                                             \
        a##v##_##p = is_signed                                                                   \
                         ? vmmlaq_s32(a##v##_##p, PAIR(p), w)                                    \
                         : vusmmlaq_s32(a##v##_##p, vreinterpretq_u8_s8(PAIR(p)), w);            \
    }
#define VECTOR(v)                                                                                \
    if (v < vectors) {                                                                           \
        const int8x16_t w = vld1q_s8(weights + 2 * UNIT * v);                                    \
        PAIRS_OF(MULTIPLY, v)                                                                    \
    }
/* Lanes of vectors v and next, of the columns of a pair: 64 bits by turns in each of them. */
#define HALVES(v, next, p)                                                                       \
    const int64x2_t x##v = vreinterpretq_s64_s32(a##v##_##p);                                    \
    const int64x2_t y##v = vreinterpretq_s64_s32(a##next##_##p);
#define STORE(p)                                                                                 \
    if (p < pairs) {                                                                             \
        int32_t *to = sums + 2 * p * column;                                                     \
        HALVES(0, 1, p) HALVES(2, 3, p)                                                          \
        if (p + 1 < pairs || !odd) {                                                             \
            store(to + column, vzip2q_s64(x0, y0), vzip2q_s64(x2, y2), vectors, begins);         \
        }                                                                                        \
        store(to, vzip1q_s64(x0, y0), vzip1q_s64(x2, y2), vectors, begins);                      \
    }

ALWAYS_INLINE void store(int32_t *to, int64x2_t one, int64x2_t other, const int vectors,
                         int begins)
{
    int32x4_t low = vreinterpretq_s32_s64(one), high = vreinterpretq_s32_s64(other);
    if (!begins) {
        low = vaddq_s32(low, vld1q_s32(to));
        high = vectors > 2 ? vaddq_s32(high, vld1q_s32(to + 4)) : high;
    }
    vst1q_s32(to, low);
    if (vectors > 2) {
        vst1q_s32(to + 4, high);
    }
}

/* Up to three pairs of a unit. */
ALWAYS_INLINE int8x16x3_t three(const int8_t *at, const int count)
{
    int8x16x3_t made;
    if (count >= 3) {
        return vld1q_s8_x3(at);
    }
    made.val[0] = made.val[1] = made.val[2] = vdupq_n_s8(0);
    if (count >= 1) {
        made.val[0] = vld1q_s8(at);
    }
    if (count >= 2) {
        made.val[1] = vld1q_s8(at + 2 * UNIT);
    }
    return made;
}

/* `vectors`, two or four, `pairs` and `is_signed` are constants wherever this is called: what they
 * leave out is no code. */
ALWAYS_INLINE void tile(int32_t *sums, const piece *from, const int8_t *weights, const nest *n,
                        const int vectors, const int pairs, const int is_signed)
{
    const int8_t *at = from->pairs;
    const int begins = from->begin == 0, odd = from->columns % 2;
    const int64_t step = n->weight_chunk, column = n->sums_column;
    const int8_t *const end = at + 2 * UNIT * pairs * from->units;
    const int32x4_t zero = vdupq_n_s32(0);
    ALL(START)
    do {
        const int first = pairs < 3 ? pairs : 3;
        const int8x16x3_t one = three(at, first);
        int8x16x3_t two = one;
        NEXT(at, 2 * UNIT * first)
        if (pairs > 3) {
            two = three(at, pairs - 3);
            NEXT(at, 2 * UNIT * (pairs - 3))
        }
        VECTOR(0) VECTOR(1) VECTOR(2) VECTOR(3)
        weights += step;
    } while (at != end);
    STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5)
}

typedef void (*tile_function)(int32_t *, const piece *, const int8_t *, const nest *);
typedef tile_function tile_table[2][MOST_PAIRS];

#define TILE(name, vectors, pairs, is_signed)                                                    \
    static void tile_##name##_##vectors##_##pairs(int32_t *sums, const piece *from,              \
                                                  const int8_t *weights, const nest *n)          \
    {                                                                                            \
        tile(sums, from, weights, n, vectors, pairs, is_signed);                                 \
    }
#define TILES_OF(name, vectors, is_signed)                                                       \
    TILE(name, vectors, 1, is_signed)                                                            \
    TILE(name, vectors, 2, is_signed)                                                            \
    TILE(name, vectors, 3, is_signed)                                                            \
    TILE(name, vectors, 4, is_signed)                                                            \
    TILE(name, vectors, 5, is_signed)                                                            \
    TILE(name, vectors, 6, is_signed)
#define ROW(name, vectors)                                                                       \
    {tile_##name##_##vectors##_1, tile_##name##_##vectors##_2, tile_##name##_##vectors##_3,      \
     tile_##name##_##vectors##_4, tile_##name##_##vectors##_5, tile_##name##_##vectors##_6}
/* For four lanes and for eight. */
#define TILES(name, is_signed)                                                                   \
    TILES_OF(name, 2, is_signed)                                                                 \
    TILES_OF(name, 4, is_signed)                                                                 \
    static const tile_table name##_tiles = {ROW(name, 2), ROW(name, 4)};
TILES(signed, 1)
TILES(unsigned, 0)

/* Where a column's inputs are, from the first one's; behind the last column it is that one. Hidden
 * from the compiler, which would otherwise move as many pointers as there are columns. */
#define OFFSET(c)                                                                                \
    int64_t o##c = (int64_t)(c < columns ? c : columns - 1) * in_column;                         \
    __asm__("" : "+r"(o##c));
#define OFFSETS                                                                                  \
    OFFSET(0) OFFSET(1) OFFSET(2) OFFSET(3) OFFSET(4) OFFSET(5)                                  \
    OFFSET(6) OFFSET(7) OFFSET(8) OFFSET(9) OFFSET(10) OFFSET(11)
#define TWO_UNITS(p, c, d)                                                                       \
    if (p < pairs) {                                                                             \
        const int64x2_t x = vreinterpretq_s64_s8(vld1q_s8(in + o##c));                           \
        const int64x2_t y = vreinterpretq_s64_s8(vld1q_s8(in + o##d));                           \
        second##p = vreinterpretq_s8_s64(vzip2q_s64(x, y));                                      \
        vst1q_s8(to + 2 * UNIT * p, vreinterpretq_s8_s64(vzip1q_s64(x, y)));                     \
    }
#define SECOND(p)                                                                                \
    if (p < pairs) vst1q_s8(to + 2 * UNIT * (pairs + p), second##p);
#define ONE_UNIT(p, c, d)                                                                        \
    if (p < pairs) {                                                                             \
        const int8x8_t one = vld1_s8(in + o##c), other = vld1_s8(in + o##d);                     \
        vst1q_s8(to + 2 * UNIT * p, vcombine_s8(one, other));                                    \
    }
#define COLUMNS(OP) OP(0, 0, 1) OP(1, 2, 3) OP(2, 4, 5) OP(3, 6, 7) OP(4, 8, 9) OP(5, 10, 11)

/* Copy `made->units` of each column from `made->begin` on: of each pair eight inputs of one and
 * eight of the other by turns. `pairs` is a constant wherever this is called. */
ALWAYS_INLINE void copy(piece *made, const int8_t *first, const nest *n, const int pairs)
{
    const int64_t in_column = n->in_column;
    const int32_t columns = made->columns;
    int8_t *to = made->pairs;
    int32_t left = made->units, chunk = 0, x = 0, y = 0;
    OFFSETS
    if (made->begin > 0) {
        chunk = made->begin % n->chunks;
        x = made->begin / n->chunks % n->taps_x;
        y = made->begin / n->chunks / n->taps_x;
    }
    while (left > 0) {
        const int8_t *in = first + y * n->in_y + x * n->in_x + UNIT * chunk;
        const int32_t units = left < n->chunks - chunk ? left : n->chunks - chunk;
        int32_t twos = units >> 1;
        left -= units;
        for (; twos > 0; twos--) {
            int8x16_t second0, second1, second2, second3, second4, second5;
            COLUMNS(TWO_UNITS)
            SECOND(0) SECOND(1) SECOND(2) SECOND(3) SECOND(4) SECOND(5)
            NEXT(in, 2 * UNIT)
            NEXT(to, 2 * 2 * UNIT * pairs)
        }
        if (units & 1) {
            COLUMNS(ONE_UNIT)
            NEXT(to, 2 * UNIT * pairs)
        }
        chunk = 0;
        if (++x == n->taps_x) {
            x = 0;
            y++;
        }
    }
}

#define COPY(pairs)                                                                              \
    static void copy_##pairs(piece *to, const int8_t *in, const nest *n)                         \
    {                                                                                            \
        copy(to, in, n, pairs);                                                                  \
    }
COPY(1) COPY(2) COPY(3) COPY(4) COPY(5) COPY(6)

static void (*const copies[MOST_PAIRS])(piece *, const int8_t *, const nest *) = {
    copy_1, copy_2, copy_3, copy_4, copy_5, copy_6};

/* Sums of some columns: as many as the widest tile has, or less. */
static void strip(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                  int32_t columns, const tile_table tiles)
{
    const int32_t all = n->taps_y * n->taps_x * n->chunks;
    const int32_t pairs = (columns + 1) / 2;
    piece some;
    some.columns = columns;
    for (some.begin = 0; some.begin < all; some.begin += some.units) {
        const int8_t *from = weights + some.begin * n->weight_chunk;
        const int32_t left = all - some.begin;
        int32_t lane = 0;
        some.units = left < MOST_UNITS ? left : MOST_UNITS;
        copies[pairs - 1](&some, in, n);
        for (; lane + 4 * LANES <= n->lanes; lane += 4 * LANES) {
            tiles[1][pairs - 1](sums + lane, &some, from + UNIT * lane, n);
        }
        if (lane < n->lanes) {
            tiles[0][pairs - 1](sums + lane, &some, from + UNIT * lane, n);
        }
    }
}

static void all_strips(int32_t *sums, const int8_t *in, const int8_t *weights, nest n,
                       int32_t columns, const tile_table tiles)
{
    if (n.in_x == UNIT * n.chunks) { /* taps of a row lie together, as their weights do */
        n.chunks *= n.taps_x;
        n.taps_x = 1;
    }
    while (columns > 0) { /* pairs of columns in strips as equal as can be */
        const int32_t pairs = (columns + 1) / 2, strips = (pairs + MOST_PAIRS - 1) / MOST_PAIRS;
        const int32_t taken = 2 * ((pairs + strips - 1) / strips);
        const int32_t some = taken < columns ? taken : columns;
        strip(sums, in, weights, &n, some, tiles);
        sums += some * n.sums_column;
        in += some * n.in_column;
        columns -= some;
    }
}

TS_HIDDEN void TS_NAME(tunesmith_mm_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk)
{
    const nest n = {lanes,     taps_y, taps_x, chunks, sums_column,
                    in_column, in_y,   in_x,   weight_chunk};
    all_strips(sums, in, weights, n, columns, signed_tiles);
}

TS_HIDDEN void TS_NAME(tunesmith_mm_unsigned_sums)(
    int32_t *sums, const uint8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk)
{
    const nest n = {lanes,     taps_y, taps_x, chunks, sums_column,
                    in_column, in_y,   in_x,   weight_chunk};
    all_strips(sums, (const int8_t *)in, weights, n, columns, unsigned_tiles);
}
