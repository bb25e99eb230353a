/* Exact sums of products of small integers, one input at a time (RISC-V vectors).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + k] * weights[y + x][k][lane]
 *
 * Inputs and weights are int8; lanes, 16 at most, lie together in weights and sums. Vectors are at
 * least 128 bits long: 16 sums of 32 bits fit four registers. A tile of columns stays in registers
 * over all that is summed. */
#include "runtime.h"

#include <riscv_vector.h>

#define VECTORS __attribute__((target("arch=+v"))) /* called after the check of the processor */
#define ALWAYS_INLINE static inline __attribute__((always_inline)) VECTORS

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x, depth;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
    size_t lanes;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5)
#define START(c) vint32m4_t a##c = __riscv_vmv_v_x_i32m4(0, n->lanes);
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        __riscv_vse32_v_i32m4(sums + c * n->sums_column, a##c, n->lanes);                        \
    }
/* A pointer for each column, which a compiler would else compute from another one. */
#define POINT(c) const int8_t *at##c = at + (c < columns ? c * (int64_t)n->in_column : 0);
#define STEP(c)                                                                                  \
    if (c < columns) {                                                                           \
        at##c += INPUTS;                                                                         \
        __asm__("" : "+r"(at##c));                                                               \
    }
#define ADD(c)                                                                                   \
    if (c < columns) {                                                                           \
        a##c = __riscv_vwmacc_vx_i32m4(a##c, at##c[INPUT], w, n->lanes);                         \
    }
#define ONE_INPUT                                                                                \
    {                                                                                            \
        const vint8m1_t narrow = __riscv_vle8_v_i8m1(from, n->lanes);                            \
        const vint16m2_t w = __riscv_vsext_vf2_i16m2(narrow, n->lanes);                          \
        COLUMNS(ADD)                                                                             \
        from += n->lanes;                                                                        \
        __asm__ volatile("" : : : "memory"); /* the next inputs are loaded after these */        \
    }

/* `columns` is a constant wherever this is called: what it leaves out is no code. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        const int columns)
{
    int32_t y, x, i;
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        for (x = 0; x < n->taps_x; x++) {
            const int8_t *at = in + y * n->in_y + x * n->in_x;
            const int8_t *from = weights + y * n->weight_y + x * n->weight_x;
            COLUMNS(POINT)
            for (i = n->depth >> 2; i > 0; i--) {
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
            }
            for (i = n->depth & 3; i > 0; i--) {
#define INPUT 0
                ONE_INPUT
#undef INPUT
#define INPUTS 1
                COLUMNS(STEP)
#undef INPUTS
            }
        }
    }
    COLUMNS(STORE)
}

#define TILE(columns)                                                                            \
    static VECTORS void tile_##columns(int32_t *sums, const int8_t *in, const int8_t *weights,   \
                                       const nest *given, int32_t tiles)                         \
    {                                                                                            \
        const nest n = *given;                                                                   \
        for (; tiles > 0; tiles--) {                                                             \
            tile(sums, in, weights, &n, columns);                                                \
            sums += columns * n.sums_column;                                                     \
            in += columns * n.in_column;                                                         \
        }                                                                                        \
    }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)

typedef void (*tile_function)(int32_t *, const int8_t *, const int8_t *, const nest *, int32_t);

/* Sums of six columns and weights, before they are widened too: 6 x 4 + 2 + 1 of 32 registers. */
#define MOST 6
static const tile_function tiles[MOST] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

TS_HIDDEN void TS_NAME(tunesmith_rvv_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t depth, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, depth, sums_column, in_column, in_y, in_x, weight_y, weight_x,
              (size_t)lanes};
    if (in_x == depth) { /* taps of a row lie together, as their weights do */
        n.depth *= taps_x;
        n.taps_x = 1;
    }
    if (columns >= MOST) {
        const int32_t count = columns / MOST;
        tiles[MOST - 1](sums, in, weights, &n, count);
        sums += count * MOST * sums_column;
        in += count * MOST * in_column;
        columns -= count * MOST;
    }
    if (columns > 0) {
        tiles[columns - 1](sums, in, weights, &n, 1);
    }
}
