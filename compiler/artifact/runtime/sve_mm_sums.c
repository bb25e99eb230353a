/* Exact sums of products of small integers by products of matrices of 2 x 8 and 8 x 2, in scalable
 * vectors (Arm SVE with its int8 matrix multiplication), for any vector length.
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + 8 chunk + k] *
 *                                          weights[y][x][chunk][lane][k]
 *
 * Inputs are int8 or uint8, weights int8; lanes lie together in sums. In each 128 bits one
 * instruction multiplies eight inputs of two columns by those of two lanes. Columns are copied in
 * pairs to the stack, eight inputs of one and eight of the other by turns, for all lanes; a number
 * of inputs at a time, so that the copy stays small. A tile of vectors x pairs of sums stays in
 * registers over all of these. Vectors of 128 bits are left to `mm_sums.c`: instructions of
 * Advanced SIMD load several of them. */
#include "runtime.h"

#include <arm_sve.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNIT 8            /* inputs of an instruction */
#define MOST_PAIRS 6      /* of columns; with four vectors: 4 x 6 + 6 + 2 registers */
#define MOST_VECTORS 4    /* of lanes */
#define MOST_UNITS 96     /* of a column that are copied at a time */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t lanes, taps_y, taps_x, chunks;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_chunk;
} nest;

/* Of a strip of columns, the inputs that were copied. */
typedef struct piece {
    int32_t begin, units, columns;
    int64_t pairs[MOST_PAIRS][2 * MOST_UNITS]; /* eight inputs each */
} piece;

#define VECTORS(OP) OP(0) OP(1) OP(2) OP(3)
#define PAIRS_OF(OP, v) OP(v, 0) OP(v, 1) OP(v, 2) OP(v, 3) OP(v, 4) OP(v, 5)
#define PAIRS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5)
#define ALL(OP) PAIRS_OF(OP, 0) PAIRS_OF(OP, 1) PAIRS_OF(OP, 2) PAIRS_OF(OP, 3)

#define PREDICATE(v) const svbool_t p##v = svwhilelt_b8_s32(UNIT * v * width, UNIT * lanes);
#define START(v, p) svint32_t a##v##_##p = zero;
/* Where the inputs of a pair are: hidden from the compiler, which adds it in the load and would
 * otherwise move as many pointers as there are pairs. */
#define OFFSET(p)                                                                                \
    int64_t o##p = p < pairs ? (int64_t)p * (int64_t)sizeof from->pairs[0] : 0;                  \
    __asm__("" : "+r"(o##p));
#define LOAD(p) const svint8_t x##p = svld1rq_s8(svptrue_b8(), at + o##p);
#define MULTIPLY(v, p)                                                                           \
    if (p < pairs) {                                                                             \
        a##v##_##p = is_signed                                                                   \
                         ? svmmla_s32(a##v##_##p, x##p, w)                                       \
                         : svusmmla_s32(a##v##_##p, svreinterpret_u8_s8(x##p), w);               \
    }
#define VECTOR(v)                                                                                \
    if (v < vectors) {                                                                           \
        const svint8_t w = svld1_vnum_s8(p##v, weights, v);                                      \
        PAIRS_OF(MULTIPLY, v)                                                                    \
    }
/* Lanes of two vectors, of either column: 64 bits by turns in each of them. */
#define STORE_PAIR(v, next, p)                                                                   \
    if (v < vectors && p < pairs) {                                                              \
        const svint64_t one = svreinterpret_s64_s32(a##v##_##p);                                 \
        const svint64_t other = svreinterpret_s64_s32(a##next##_##p);                            \
        const svbool_t some = svwhilelt_b32_s32(v * width, lanes);                               \
        int32_t *to = sums + 2 * p * column + v * width;                                         \
        store(some, to, svuzp1_s64(one, other), begins);                                         \
        if (p + 1 < pairs || !odd) {                                                             \
            store(some, to + column, svuzp2_s64(one, other), begins);                            \
        }                                                                                        \
    }
#define STORE_FIRST(p) STORE_PAIR(0, 1, p)
#define STORE_SECOND(p) STORE_PAIR(2, 3, p)

ALWAYS_INLINE void store(svbool_t some, int32_t *to, svint64_t halves, int begins)
{
    const svint32_t made = svreinterpret_s32_s64(halves);
    svst1_s32(some, to, begins ? made : svadd_s32_x(some, made, svld1_s32(some, to)));
}

/* `vectors`, `pairs` and `is_signed` are constants wherever this is called: what they leave out is
 * no code. */
ALWAYS_INLINE void tile(int32_t *sums, const piece *from, const int8_t *weights, const nest *n,
                        int32_t lanes, const int vectors, const int pairs, const int is_signed)
{
    const int32_t width = (int32_t)svcntd(); /* lanes of a vector */
    const int8_t *at = (const int8_t *)from->pairs;
    const int begins = from->begin == 0, odd = from->columns % 2;
    const int64_t step = n->weight_chunk, column = n->sums_column;
    int32_t left = from->units;
    svint32_t zero = svdup_n_s32(0);
    __asm__("" : "+w"(zero)); /* else each sum starts with an instruction of Advanced SIMD */
    VECTORS(PREDICATE)
    PAIRS(OFFSET)
    ALL(START)
    do {
        PAIRS(LOAD)
        VECTORS(VECTOR)
        at += 2 * UNIT;
        weights += step;
    } while (--left > 0);
    PAIRS(STORE_FIRST)
    PAIRS(STORE_SECOND)
}

#define TILE(name, vectors, pairs, is_signed)                                                    \
    static void tile_##name##_##vectors##_##pairs(int32_t *sums, const piece *from,              \
                                                  const int8_t *weights, const nest *n,          \
                                                  int32_t lanes)                                 \
    {                                                                                            \
        tile(sums, from, weights, n, lanes, vectors, pairs, is_signed);                          \
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
#define TILES(name, is_signed)                                                                   \
    TILES_OF(name, 1, is_signed)                                                                 \
    TILES_OF(name, 2, is_signed)                                                                 \
    TILES_OF(name, 3, is_signed)                                                                 \
    TILES_OF(name, 4, is_signed)                                                                 \
    static const tile_function name##_tiles[MOST_VECTORS][MOST_PAIRS] = {                        \
        ROW(name, 1), ROW(name, 2), ROW(name, 3), ROW(name, 4)};

TS_HIDDEN void TS_NAME(tunesmith_mm_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk);
TS_HIDDEN void TS_NAME(tunesmith_mm_unsigned_sums)(
    int32_t *sums, const uint8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk);

typedef void (*tile_function)(int32_t *, const piece *, const int8_t *, const nest *, int32_t);

TILES(signed, 1)
TILES(unsigned, 0)

/* Where a column's inputs are, from the first one's; behind the last column it is that one. */
#define COLUMN_OF(c)                                                                             \
    int64_t i##c = (int64_t)(c < columns ? c : columns - 1) * in_column;                         \
    __asm__("" : "+r"(i##c));
#define COLUMNS_OF_PAIRS                                                                         \
    COLUMN_OF(0) COLUMN_OF(1) COLUMN_OF(2) COLUMN_OF(3) COLUMN_OF(4) COLUMN_OF(5)                \
    COLUMN_OF(6) COLUMN_OF(7) COLUMN_OF(8) COLUMN_OF(9) COLUMN_OF(10) COLUMN_OF(11)
#define TO(p)                                                                                    \
    int64_t t##p = p * 2 * MOST_UNITS;                                                           \
    __asm__("" : "+r"(t##p));
#define INTERLEAVE(p, c, d)                                                                      \
    if (p < pairs) {                                                                             \
        const svint64_t one = svreinterpret_s64_s8(svld1_s8(some, in + i##c));                   \
        const svint64_t other = svreinterpret_s64_s8(svld1_s8(some, in + i##d));                 \
        svst2_s64(some, to + t##p, svcreate2_s64(one, other));                                   \
    }

/* Copy `made->units` of each column from `made->begin` on: of each pair eight inputs of one and
 * eight of the other by turns. `pairs` is a constant wherever this is called. */
ALWAYS_INLINE void copy(piece *made, const int8_t *first, const nest *n, const int pairs)
{
    const int64_t width = (int64_t)svcntd(), in_column = n->in_column;
    const int32_t columns = made->columns;
    int64_t *to = made->pairs[0];
    int32_t left = made->units, chunk = 0, x = 0, y = 0;
    COLUMNS_OF_PAIRS
    PAIRS(TO)
    if (made->begin > 0) {
        chunk = made->begin % n->chunks;
        x = made->begin / n->chunks % n->taps_x;
        y = made->begin / n->chunks / n->taps_x;
    }
    while (left > 0) {
        const int8_t *in = first + y * n->in_y + x * n->in_x + UNIT * chunk;
        int32_t units = left < n->chunks - chunk ? left : n->chunks - chunk;
        int64_t *next = to + 2 * units;
        left -= units;
        for (; units > 0; units -= (int32_t)width) {
            const svbool_t some = svwhilelt_b8_s32(0, UNIT * units); /* the first of each eight */
            INTERLEAVE(0, 0, 1) INTERLEAVE(1, 2, 3) INTERLEAVE(2, 4, 5)
            INTERLEAVE(3, 6, 7) INTERLEAVE(4, 8, 9) INTERLEAVE(5, 10, 11)
            in += UNIT * width;
            to += 2 * width;
            __asm__("" : "+r"(in), "+r"(to));
        }
        to = next;
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
                  int32_t columns, const tile_function tiles[MOST_VECTORS][MOST_PAIRS])
{
    const int32_t width = (int32_t)svcntd();
    const int32_t all = n->taps_y * n->taps_x * n->chunks;
    piece some;
    some.columns = columns;
    for (some.begin = 0; some.begin < all; some.begin += some.units) {
        const int32_t left = all - some.begin;
        int32_t lane = 0, vectors = (n->lanes + width - 1) / width;
        some.units = left < MOST_UNITS ? left : MOST_UNITS;
        copies[(columns - 1) / 2](&some, in, n);
        while (vectors > 0) { /* as equal as can be */
            const int32_t count = (vectors + MOST_VECTORS - 1) / MOST_VECTORS;
            const int32_t taken = vectors / count;
            const int32_t lanes = n->lanes - lane < taken * width ? n->lanes - lane : taken * width;
            tiles[taken - 1][(columns - 1) / 2](
                sums + lane, &some, weights + some.begin * n->weight_chunk + UNIT * lane, n, lanes);
            lane += lanes;
            vectors -= taken;
        }
    }
}

static void all_strips(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *given,
                       int32_t columns, const tile_function tiles[MOST_VECTORS][MOST_PAIRS])
{
    nest n = *given;
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

TS_HIDDEN void TS_NAME(tunesmith_sve_mm_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk)
{
    const nest n = {lanes,     taps_y, taps_x, chunks, sums_column,
                    in_column, in_y,   in_x,   weight_chunk};
    if (svcntd() == 2) {
        TS_NAME(tunesmith_mm_sums)
        (sums, in, weights, columns, lanes, taps_y, taps_x, chunks, sums_column, in_column, in_y,
         in_x, weight_chunk);
        return;
    }
    all_strips(sums, in, weights, &n, columns, signed_tiles);
}

TS_HIDDEN void TS_NAME(tunesmith_sve_mm_unsigned_sums)(
    int32_t *sums, const uint8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk)
{
    const nest n = {lanes,     taps_y, taps_x, chunks, sums_column,
                    in_column, in_y,   in_x,   weight_chunk};
    if (svcntd() == 2) {
        TS_NAME(tunesmith_mm_unsigned_sums)
        (sums, in, weights, columns, lanes, taps_y, taps_x, chunks, sums_column, in_column, in_y,
         in_x, weight_chunk);
        return;
    }
    all_strips(sums, (const int8_t *)in, weights, &n, columns, unsigned_tiles);
}
