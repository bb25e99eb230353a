/* Exact sums over taps of depthwise convolutions of int8 (RISC-V vectors).
 *
 * sums[column][lane] = sum over y, x of in[column + y + x][lane] * weights[y + x][lane]
 *
 * Lanes lie together in all three. Vectors are at least 128 bits long: 16 sums of 32 bits fit four
 * registers. Of three taps a row, neighbouring columns share the inputs. */
#include "runtime.h"

#include <riscv_vector.h>

#define VECTORS __attribute__((target("arch=+v"))) /* called after the check of the processor */
#define ALWAYS_INLINE static inline __attribute__((always_inline)) VECTORS
#define LANES 16

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x;
    size_t lanes; /* of this call, 16 at most */
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4)
#define PLACES(OP)                                                                               \
    OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10)
#define START(c) vint32m4_t a##c = __riscv_vmv_v_x_i32m4(0, n->lanes);
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        __riscv_vse32_v_i32m4(sums, a##c, n->lanes);                                             \
        sums += n->sums_column;                                                                  \
    }
#define ADD(c, x, w) a##c = __riscv_vwmacc_vv_i32m4(a##c, x, w, n->lanes);
/* Input `place` of a row is that of tap k for the column c where place = step * c + k. */
#define OF_COLUMN(c)                                                                             \
    if (c < columns && place == step * c) { ADD(c, value, w0) }                                  \
    if (c < columns && place == step * c + 1) { ADD(c, value, w1) }                              \
    if (c < columns && place == step * c + 2) { ADD(c, value, w2) }
#define PLACE(p)                                                                                 \
    if (p < step * (columns - 1) + 3) {                                                          \
        const int place = p;                                                                     \
        const vint16m2_t value = next(&at, n->in_x, n->lanes);                                   \
        COLUMNS(OF_COLUMN)                                                                       \
    }
#define ONE_TAP(c)                                                                               \
    if (c < columns) {                                                                           \
        const vint16m2_t value = next(&from_column, n->in_column, n->lanes);                     \
        ADD(c, value, w)                                                                         \
    }

ALWAYS_INLINE vint16m2_t next(const int8_t **at, int64_t stride, size_t lanes)
{
    const vint8m1_t narrow = __riscv_vle8_v_i8m1(*at, lanes);
    *at += stride;
    return __riscv_vsext_vf2_i16m2(narrow, lanes);
}

/* Constants wherever this is called: `columns`, and `step`, the inputs from a column to the next
 * one where there are three taps a row; 0 for any taps. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        const int columns, const int step)
{
    int32_t y, x;
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        const int8_t *at = in + y * (int64_t)n->in_y;
        const int8_t *from = weights + y * (int64_t)n->weight_y;
        if (step) {
            const vint16m2_t w0 = next(&from, n->weight_x, n->lanes);
            const vint16m2_t w1 = next(&from, n->weight_x, n->lanes);
            const vint16m2_t w2 = next(&from, n->weight_x, n->lanes);
            PLACES(PLACE)
        } else {
            for (x = 0; x < n->taps_x; x++) {
                const vint16m2_t w = next(&from, n->weight_x, n->lanes);
                const int8_t *from_column = at;
                COLUMNS(ONE_TAP)
                at += n->in_x;
            }
        }
    }
    COLUMNS(STORE)
}

#define CASE(width, step)                                                                        \
    case width:                                                                                  \
        tile(sums, in, weights, &n, width, step);                                                \
        break;
/* Tiles as equal as can be: five columns at most, beside which weights and an input fit. */
#define STRIP(step)                                                                              \
    static VECTORS void strip_##step(int32_t *sums, const int8_t *in, const int8_t *weights,     \
                                     const nest *given, int32_t columns)                         \
    {                                                                                            \
        const nest n = *given;                                                                   \
        int32_t tiles = (columns + 4) / 5;                                                       \
        for (; tiles > 0; tiles--) {                                                             \
            const int32_t width = columns / tiles;                                               \
            switch (width) {                                                                     \
                CASE(1, step) CASE(2, step) CASE(3, step) CASE(4, step) CASE(5, step)            \
            }                                                                                    \
            sums += width * n.sums_column;                                                       \
            in += width * n.in_column;                                                           \
            columns -= width;                                                                    \
        }                                                                                        \
    }
STRIP(0) STRIP(1) STRIP(2)

TS_HIDDEN void TS_NAME(tunesmith_rvv_depthwise)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t sums_column, int32_t in_column, int32_t in_y,
    int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, sums_column, in_column, in_y, in_x, weight_y, weight_x, 0};
    int32_t lane;
    for (lane = 0; lane < lanes; lane += LANES) {
        n.lanes = (size_t)(lanes - lane < LANES ? lanes - lane : LANES);
        if (taps_x == 3 && in_column == in_x) {
            strip_1(sums + lane, in + lane, weights + lane, &n, columns);
        } else if (taps_x == 3 && in_column == 2 * in_x) {
            strip_2(sums + lane, in + lane, weights + lane, &n, columns);
        } else {
            strip_0(sums + lane, in + lane, weights + lane, &n, columns);
        }
    }
}
