/* Exact sums of products of small integers, four products a lane, in scalable vectors (Arm SVE),
 * for any vector length.
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + 4 chunk + k] *
 *                                          weights[y][x][chunk][lane][k]
 *
 * Inputs and weights are int8; lanes lie together in sums. A tile of vectors x columns of sums
 * stays in registers over all that is summed; of the inputs of a column four chunks are loaded at
 * once and taken by lane: such a register must be one of z0 to z7: at most 8 columns. */
#include "runtime.h"

#include <arm_sve.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define GROUP 4 /* products of a lane in a step */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t lanes, taps_y, taps_x, chunks;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_chunk;
} nest;

#define VECTORS(OP) OP(0) OP(1) OP(2) OP(3)
#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define COLUMNS_OF(OP, v) OP(v, 0) OP(v, 1) OP(v, 2) OP(v, 3) OP(v, 4) OP(v, 5) OP(v, 6) OP(v, 7)
#define ALL(OP) COLUMNS_OF(OP, 0) COLUMNS_OF(OP, 1) COLUMNS_OF(OP, 2) COLUMNS_OF(OP, 3)

/* The bytes of the lanes' weights: of each four the first stands for a sum. */
#define PREDICATE(v) const svbool_t p##v = svwhilelt_b8_s32(GROUP * v * width, GROUP * lanes);
#define START(v, c) svint32_t a##v##_##c = zero;
#define STORE(v, c)                                                                              \
    if (v < vectors && c < columns) {                                                            \
        svst1_vnum_s32(p##v, sums + c * column, v, a##v##_##c);                                  \
    }
/* Where a column's inputs are, from the first one's: hidden from the compiler, which adds it in the
 * load and would otherwise move as many pointers as there are columns. */
#define OFFSET(c)                                                                                \
    int64_t o##c = c < columns ? (int64_t)c * n->in_column : 0;                                  \
    __asm__("" : "+r"(o##c));
#define LOAD_FOUR(c) const svint8_t x##c = svld1rq_s8(svptrue_b8(), at + o##c);
#define LOAD_ONE(c) const svint8_t x##c = one_chunk(at + o##c);
#define WEIGHTS(v)                                                                               \
    const svint8_t w##v = v < vectors ? svld1_vnum_s8(p##v, weights, v) : svdup_n_s8(0);
#define BY_LANE(v, c)                                                                            \
    if (v < vectors && c < columns) a##v##_##c = svdot_lane_s32(a##v##_##c, w##v, x##c, LANE);
#define BY_ONE(v, c)                                                                             \
    if (v < vectors && c < columns) a##v##_##c = svdot_s32(a##v##_##c, w##v, x##c);
/* Pointers are hidden from the compiler, which would keep one for each vector of a tile. */
#define NEXT(pointer, step)                                                                      \
    pointer += step;                                                                             \
    __asm__("" : "+r"(pointer));
#define STEP                                                                                     \
    {                                                                                            \
        VECTORS(WEIGHTS)                                                                         \
        ALL(BY_LANE)                                                                             \
        NEXT(weights, step)                                                                      \
    }

ALWAYS_INLINE svint8_t one_chunk(const int8_t *at)
{
    int32_t four;
    __builtin_memcpy(&four, at, sizeof four);
    return svreinterpret_s8_s32(svdup_n_s32(four));
}

/* `vectors` and `columns` are constants wherever this is called: what they leave out is no code. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        int32_t lanes, const int vectors, const int columns)
{
    const int32_t width = (int32_t)svcntw();
    const int64_t step = n->weight_chunk, column = n->sums_column;
    svint32_t zero = svdup_n_s32(0);
    int32_t y, x, i;
    __asm__("" : "+w"(zero)); /* else each sum starts with an instruction of Advanced SIMD */
    VECTORS(PREDICATE)
    COLUMNS(OFFSET)
    ALL(START)
    for (y = 0; y < n->taps_y; y++) {
        for (x = 0; x < n->taps_x; x++) {
            const int8_t *at = in + y * n->in_y + x * n->in_x;
            for (i = n->chunks >> 2; i > 0; i--) {
                COLUMNS(LOAD_FOUR)
#define LANE 0
                STEP
#undef LANE
#define LANE 1
                STEP
#undef LANE
#define LANE 2
                STEP
#undef LANE
#define LANE 3
                STEP
#undef LANE
                NEXT(at, 4 * GROUP)
            }
            for (i = n->chunks & 3; i > 0; i--) {
                COLUMNS(LOAD_ONE)
                VECTORS(WEIGHTS)
                ALL(BY_ONE)
                NEXT(at, GROUP)
                NEXT(weights, step)
            }
        }
    }
    ALL(STORE)
}

/* One tile after another along the columns: addresses are computed once for all of them. */
#define TILE(vectors, columns)                                                                   \
    static void tile_##vectors##_##columns(int32_t *sums, const int8_t *in,                      \
                                           const int8_t *weights, const nest *given,             \
                                           int32_t lanes, int32_t tiles)                         \
    {                                                                                            \
        const nest n = *given;                                                                   \
        for (; tiles > 0; tiles--) {                                                             \
            tile(sums, in, weights, &n, lanes, vectors, columns);                                \
            sums += columns * n.sums_column;                                                     \
            in += columns * n.in_column;                                                         \
        }                                                                                        \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 4) TILE(1, 8)
TILE(2, 1) TILE(2, 2) TILE(2, 4) TILE(2, 8)
TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 6)

typedef void (*tile_function)(int32_t *, const int8_t *, const int8_t *, const nest *, int32_t,
                              int32_t);

/* For each number of vectors the tiles from the widest; sums, inputs and weights fit 32 registers:
 * 4 x 6 + 6 + 2, 2 x 8 + 8 + 2. */
static const struct {
    int32_t columns;
    tile_function run;
} tiles[3][4] = {
    {{8, tile_1_8}, {4, tile_1_4}, {2, tile_1_2}, {1, tile_1_1}},
    {{8, tile_2_8}, {4, tile_2_4}, {2, tile_2_2}, {1, tile_2_1}},
    {{6, tile_4_6}, {3, tile_4_3}, {2, tile_4_2}, {1, tile_4_1}},
};

TS_HIDDEN void TS_NAME(tunesmith_sve_dot_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_chunk)
{
    nest n = {lanes, taps_y, taps_x, chunks, sums_column, in_column, in_y, in_x, weight_chunk};
    const int32_t width = (int32_t)svcntw();
    int32_t lane = 0;
    if (in_x == GROUP * chunks) { /* taps of a row lie together, as their weights do */
        n.chunks *= taps_x;
        n.taps_x = 1;
    }
    while (lane < lanes) {
        const int32_t left = (lanes - lane + width - 1) / width;
        const int kind = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        int32_t column = 0, i;
        for (i = 0; column < columns; i++) {
            const int32_t count = (columns - column) / tiles[kind][i].columns;
            if (count > 0) {
                tiles[kind][i].run(sums + column * sums_column + lane, in + column * in_column,
                                   weights + GROUP * lane, &n, lanes - lane, count);
                column += count * tiles[kind][i].columns;
            }
        }
        lane += width << kind;
    }
}
