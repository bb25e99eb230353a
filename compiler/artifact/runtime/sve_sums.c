/* Sums of products in scalable vectors (Arm SVE), for any vector length.
 *
 * sums[column][lane] = sum over channel, ky, kx, inner of in[column, ...] * weights[..., lane]
 *
 * Lanes lie together in sums and in weights. A tile of vectors x columns of sums stays in registers
 * over all that is summed. Where `inner` is contiguous in `in`, four of its elements are loaded for
 * each column and taken by lane; such a register must be one of z0 to z7: at most 8 columns. */
#include "runtime.h"

#include <arm_sve.h>

/* Weights are floats, or halves that are widened as they are loaded (sve_half_sums.c). */
#ifdef TUNESMITH_HALF_WEIGHTS
typedef uint16_t weight;
#define LOAD_WEIGHTS(p, from, v)                                                                 \
    svcvt_f32_f16_x(p, svreinterpret_f16_u32(svld1uh_vnum_u32(p, from, v)))
#else
typedef float weight;
#define LOAD_WEIGHTS(p, from, v) svld1_vnum_f32(p, from, v)
#endif
#ifndef TUNESMITH_SUMS
#define TUNESMITH_SUMS tunesmith_sve_sums
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Extents and strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t channels, taps_y, taps_x, inner;
    int32_t sums_column, in_column;
    int32_t in_channel, in_y, in_x, in_inner;
    int32_t weight_channel, weight_y, weight_x, weight_inner;
} nest;

#define COLUMNS_OF(OP, v) OP(v, 0) OP(v, 1) OP(v, 2) OP(v, 3) OP(v, 4) OP(v, 5) OP(v, 6) OP(v, 7)
#define ALL(OP) COLUMNS_OF(OP, 0) COLUMNS_OF(OP, 1) COLUMNS_OF(OP, 2) COLUMNS_OF(OP, 3)
#define VECTORS(OP) OP(0) OP(1) OP(2) OP(3)
#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)

#define PREDICATE(v) svbool_t p##v = svwhilelt_b32_s32(v * width, lanes);
#define START(v, c) svfloat32_t a##v##_##c = zero;
#define STORE(v, c)                                                                              \
    if (v < vectors && c < columns) {                                                            \
        svst1_vnum_f32(p##v, t##c, v, a##v##_##c);                                               \
    }
/* Pointers are hidden from the compiler, which would keep one for each vector of a tile. */
#define NEXT(pointer, step)                                                                      \
    pointer += step;                                                                             \
    __asm__("" : "+r"(pointer));
#define TO(c)                                                                                    \
    float *t##c = sums + (c < columns ? c : 0) * n->sums_column;                                 \
    __asm__("" : "+r"(t##c));
/* Where a column's inputs are, from the first one's: a number that the compiler keeps in a register
 * and adds in the load, where it would otherwise move as many pointers as there are columns. */
#define OFFSET(c)                                                                                \
    int64_t o##c = c < columns ? (int64_t)c * n->in_column : 0;                                  \
    __asm__("" : "+r"(o##c));
#define LOAD_FOUR(c) svfloat32_t x##c = svld1rq_f32(svptrue_b32(), at + o##c);
#define LOAD_ONE(c) svfloat32_t x##c = svdup_n_f32(at[o##c]);
#define WEIGHTS(v)                                                                               \
    svfloat32_t w##v = v < vectors ? LOAD_WEIGHTS(p##v, from, v) : svdup_n_f32(0.0f);
#define BY_LANE(v, c)                                                                            \
    if (v < vectors && c < columns) a##v##_##c = svmla_lane_f32(a##v##_##c, w##v, x##c, LANE);
#define BY_ONE(v, c)                                                                             \
    if (v < vectors && c < columns) a##v##_##c = svmla_f32_x(svptrue_b32(), a##v##_##c, w##v, x##c);

/* `vectors` and `columns` are constants wherever this is called: what they leave out is no code. */
ALWAYS_INLINE void tile(float *sums, const float *in, const weight *weights, const nest *n,
                        int32_t lanes, const int vectors, const int columns, const int by_lane)
{
    const int32_t width = (int32_t)svcntw();
    svfloat32_t zero = svdup_n_f32(0.0f);
    int32_t channel, y, x, i;
    __asm__("" : "+w"(zero)); /* else each sum starts with an instruction of Advanced SIMD */
    VECTORS(PREDICATE)
    COLUMNS(OFFSET)
    ALL(START)
    for (channel = 0; channel < n->channels; channel++) {
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                const float *at = in + channel * n->in_channel + y * n->in_y + x * n->in_x;
                const weight *from = weights + channel * n->weight_channel + y * n->weight_y +
                                    x * n->weight_x;
                if (by_lane) {
                    for (i = 0; i < n->inner; i += 4) {
                        COLUMNS(LOAD_FOUR)
#define LANE 0
                        { VECTORS(WEIGHTS) ALL(BY_LANE) NEXT(from, n->weight_inner) }
#undef LANE
#define LANE 1
                        { VECTORS(WEIGHTS) ALL(BY_LANE) NEXT(from, n->weight_inner) }
#undef LANE
#define LANE 2
                        { VECTORS(WEIGHTS) ALL(BY_LANE) NEXT(from, n->weight_inner) }
#undef LANE
#define LANE 3
                        { VECTORS(WEIGHTS) ALL(BY_LANE) NEXT(from, n->weight_inner) }
#undef LANE
                        NEXT(at, 4)
                    }
                } else {
                    for (i = 0; i < n->inner; i++) {
                        COLUMNS(LOAD_ONE)
                        VECTORS(WEIGHTS)
                        ALL(BY_ONE)
                        NEXT(from, n->weight_inner)
                        NEXT(at, n->in_inner)
                    }
                }
            }
        }
    }
    COLUMNS(TO)
    ALL(STORE)
}

ALWAYS_INLINE void strip(float *sums, const float *in, const weight *weights, nest n,
                         int32_t lanes, int32_t tiles, const int vectors, const int columns,
                         const int by_lane)
{
    while (tiles-- > 0) {
        tile(sums, in, weights, &n, lanes, vectors, columns, by_lane);
        sums += columns * n.sums_column;
        in += columns * n.in_column;
    }
}

/* One tile after another along the columns: addresses are computed once for all of them. */
#define TILE(vectors, columns)                                                                   \
    static void tile_##vectors##_##columns(float *sums, const float *in, const weight *weights,   \
                                           const nest *n, int32_t lanes, int32_t tiles)          \
    {                                                                                            \
        if (n->in_inner == 1 && n->inner % 4 == 0) {                                             \
            strip(sums, in, weights, *n, lanes, tiles, vectors, columns, 1);                     \
        } else {                                                                                 \
            strip(sums, in, weights, *n, lanes, tiles, vectors, columns, 0);                     \
        }                                                                                        \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 4) TILE(1, 8)
TILE(2, 1) TILE(2, 2) TILE(2, 4) TILE(2, 8)
TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 6)

typedef void (*tile_function)(float *, const float *, const weight *, const nest *, int32_t,
                              int32_t);

/* For each number of vectors the tiles from the widest; accumulators, inputs and weights fit 32
 * registers: 4 x 6 + 6 + 2, 2 x 8 + 8 + 2. */
static const struct {
    int32_t columns;
    tile_function run;
} tiles[3][4] = {
    {{8, tile_1_8}, {4, tile_1_4}, {2, tile_1_2}, {1, tile_1_1}},
    {{8, tile_2_8}, {4, tile_2_4}, {2, tile_2_2}, {1, tile_2_1}},
    {{6, tile_4_6}, {3, tile_4_3}, {2, tile_4_2}, {1, tile_4_1}},
};

TS_HIDDEN void TS_NAME(TUNESMITH_SUMS)(
    float *sums, const float *in, const weight *weights, int32_t columns, int32_t lanes,
    int32_t channels, int32_t taps_y, int32_t taps_x, int32_t inner, int32_t sums_column,
    int32_t in_column, int32_t in_channel, int32_t in_y, int32_t in_x, int32_t in_inner,
    int32_t weight_channel, int32_t weight_y, int32_t weight_x, int32_t weight_inner)
{
    const nest n = {channels, taps_y, taps_x, inner, sums_column, in_column, in_channel, in_y,
                    in_x, in_inner, weight_channel, weight_y, weight_x, weight_inner};
    const int32_t width = (int32_t)svcntw();
    int32_t lane = 0, column, i;
    while (lane < lanes) {
        int32_t left = (lanes - lane + width - 1) / width;
        int kind = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        for (column = 0, i = 0; column < columns; i++) {
            int32_t count = (columns - column) / tiles[kind][i].columns;
            if (count > 0) {
                tiles[kind][i].run(sums + column * sums_column + lane, in + column * in_column,
                                   weights + lane, &n, lanes - lane, count);
                column += count * tiles[kind][i].columns;
            }
        }
        lane += width << kind;
    }
}
