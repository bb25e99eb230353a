/* Exact sums of products of small integers for 64-bit Arm without dot products (NEON).
 *
 * sums[column][lane] = sum over y, x, k of in[column + y + x + 8 chunk + k] *
 *                                          weights[y + x][chunk][lane][k]
 *
 * Inputs and weights are int8, weights at least -127: then two products fit 16 bits, and eight such
 * pairs are added to four sums of 32 bits. Lanes are a multiple of four. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LANES 4 /* of a tile */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t taps_y, taps_x, chunks;
    int32_t sums_column, in_column, in_y, in_x;
    int32_t weight_y, weight_x, weight_chunk;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3)
#define START(c)                                                                                 \
    int32x4_t a##c##_0 = none, a##c##_1 = none, a##c##_2 = none, a##c##_3 = none;
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        vst1q_s32(sums + c * n->sums_column,                                                     \
                  vpaddq_s32(vpaddq_s32(a##c##_0, a##c##_1), vpaddq_s32(a##c##_2, a##c##_3)));   \
    }
#define WEIGHTS(l) const int8x8_t w##l = vld1_s8(from + 8 * l);
#define MORE_WEIGHTS(l) const int8x8_t v##l = vld1_s8(from + n->weight_chunk + 8 * l);
#define TWO(c, l)                                                                                \
    a##c##_##l = vpadalq_s16(a##c##_##l, vmlal_s8(vmull_s8(w##l, one), v##l, other));
#define ONE(c, l) a##c##_##l = vpadalq_s16(a##c##_##l, vmull_s8(w##l, one));
#define TWO_CHUNKS(c)                                                                            \
    if (c < columns) {                                                                           \
        const int8x8_t one = vld1_s8(at + c * n->in_column);                                     \
        const int8x8_t other = vld1_s8(at + c * n->in_column + 8);                               \
        TWO(c, 0) TWO(c, 1) TWO(c, 2) TWO(c, 3)                                                  \
    }
#define ONE_CHUNK(c)                                                                             \
    if (c < columns) {                                                                           \
        const int8x8_t one = vld1_s8(at + c * n->in_column);                                     \
        ONE(c, 0) ONE(c, 1) ONE(c, 2) ONE(c, 3)                                                  \
    }

/* `columns` is a constant wherever this is called: what it leaves out is no code. */
ALWAYS_INLINE void tile(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *n,
                        const int columns)
{
    const int32x4_t none = vdupq_n_s32(0);
    int32_t y, x, i;
    COLUMNS(START)
    for (y = 0; y < n->taps_y; y++) {
        for (x = 0; x < n->taps_x; x++) {
            const int8_t *at = in + y * n->in_y + x * n->in_x;
            const int8_t *from = weights + y * n->weight_y + x * n->weight_x;
            for (i = n->chunks >> 1; i > 0; i--) {
                WEIGHTS(0) WEIGHTS(1) WEIGHTS(2) WEIGHTS(3)
                MORE_WEIGHTS(0) MORE_WEIGHTS(1) MORE_WEIGHTS(2) MORE_WEIGHTS(3)
                COLUMNS(TWO_CHUNKS)
                at += 16;
                from += 2 * n->weight_chunk;
            }
            if (n->chunks & 1) {
                WEIGHTS(0) WEIGHTS(1) WEIGHTS(2) WEIGHTS(3)
                COLUMNS(ONE_CHUNK)
            }
        }
    }
    COLUMNS(STORE)
}

static void strip(int32_t *sums, const int8_t *in, const int8_t *weights, const nest *given,
                  int32_t columns)
{
    const nest n = *given;
    for (; columns >= 4; columns -= 4) {
        tile(sums, in, weights, &n, 4);
        sums += 4 * n.sums_column;
        in += 4 * n.in_column;
    }
    switch (columns) {
    case 1:
        tile(sums, in, weights, &n, 1);
        break;
    case 2:
        tile(sums, in, weights, &n, 2);
        break;
    case 3:
        tile(sums, in, weights, &n, 3);
        break;
    }
}

TS_HIDDEN void TS_NAME(tunesmith_narrow_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t lanes,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t sums_column, int32_t in_column,
    int32_t in_y, int32_t in_x, int32_t weight_y, int32_t weight_x)
{
    nest n = {taps_y, taps_x, chunks, sums_column, in_column, in_y, in_x, weight_y, weight_x,
              8 * lanes};
    int32_t lane;
    if (in_x == 8 * chunks) { /* taps of a row lie together, as their weights do */
        n.chunks *= taps_x;
        n.taps_x = 1;
    }
    for (lane = 0; lane < lanes; lane += LANES) {
        strip(sums + lane, in, weights + 8 * lane, &n, columns);
    }
}
