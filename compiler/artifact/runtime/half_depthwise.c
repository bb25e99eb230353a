/* Sums of products of halves lane by lane, eight lanes a vector (Arm FEAT_FP16).
 *
 * sums[column][lane] = sum over channel, ky, kx, inner of in[column, ..., lane] * weights[..., lane]
 *
 * Lanes, a multiple of eight, lie together in all three. A vector of sums for each of up to eight
 * columns stays in registers over at most CHUNK products, as halves; the sums are floats. */
#include "runtime.h"

#include <arm_neon.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define CHUNK 64
#define LANES 8

/* Extents and strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t channels, taps_y, taps_x, inner;
    int32_t sums_column, in_column;
    int32_t in_channel, in_y, in_x, in_inner;
    int32_t weight_channel, weight_y, weight_x, weight_inner;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define START(c) float16x8_t a##c = zero;
#define PRODUCT(c)                                                                               \
    if (c < columns) a##c = vfmaq_f16(a##c, w, vld1q_f16(at + c * n->in_column));
#define FLUSH(c)                                                                                 \
    if (c < columns) {                                                                           \
        float *to = sums + c * n->sums_column;                                                   \
        float32x4_t low = vcvt_f32_f16(vget_low_f16(a##c)), high = vcvt_high_f32_f16(a##c);      \
        if (!is_first) {                                                                         \
            low = vaddq_f32(low, vld1q_f32(to));                                                 \
            high = vaddq_f32(high, vld1q_f32(to + 4));                                           \
        }                                                                                        \
        vst1q_f32(to, low);                                                                      \
        vst1q_f32(to + 4, high);                                                                 \
        a##c = zero;                                                                             \
    }

/* `columns` is a constant wherever this is called: what it leaves out is no code. */
ALWAYS_INLINE void run(float *sums, const float16_t *in, const float16_t *weights, const nest *n,
                       const int columns)
{
    const float16x8_t zero = vdupq_n_f16(0);
    int32_t channel, y, x, i, count = 0, is_first = 1;
    COLUMNS(START)
    for (channel = 0; channel < n->channels; channel++) {
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                const float16_t *at = in + channel * n->in_channel + y * n->in_y + x * n->in_x;
                const float16_t *from = weights + channel * n->weight_channel +
                                        y * n->weight_y + x * n->weight_x;
                for (i = 0; i < n->inner; i++, at += n->in_inner, from += n->weight_inner) {
                    const float16x8_t w = vld1q_f16(from);
                    if (count == CHUNK) {
                        COLUMNS(FLUSH)
                        is_first = 0;
                        count = 0;
                    }
                    COLUMNS(PRODUCT)
                    count++;
                }
            }
        }
    }
    COLUMNS(FLUSH)
}

/* Nine taps, the usual number: all weights stay in registers along a row of columns. */
static void run_3x3(float *sums, const float16_t *in, const float16_t *weights, const nest *n,
                    int32_t columns)
{
    const int32_t x1 = n->in_inner, x2 = 2 * x1;
    const float16_t *row0 = in, *row1 = in + n->in_x, *row2 = in + 2 * n->in_x;
    float16x8_t w[9];
    int32_t column, i;
    for (i = 0; i < 9; i++) {
        w[i] = vld1q_f16(weights + i / 3 * n->weight_x + i % 3 * n->weight_inner);
    }
    for (column = 0; column < columns; column++) {
        float16x8_t a = vmulq_f16(w[0], vld1q_f16(row0));
        a = vfmaq_f16(a, w[1], vld1q_f16(row0 + x1));
        a = vfmaq_f16(a, w[2], vld1q_f16(row0 + x2));
        a = vfmaq_f16(a, w[3], vld1q_f16(row1));
        a = vfmaq_f16(a, w[4], vld1q_f16(row1 + x1));
        a = vfmaq_f16(a, w[5], vld1q_f16(row1 + x2));
        a = vfmaq_f16(a, w[6], vld1q_f16(row2));
        a = vfmaq_f16(a, w[7], vld1q_f16(row2 + x1));
        a = vfmaq_f16(a, w[8], vld1q_f16(row2 + x2));
        vst1q_f32(sums, vcvt_f32_f16(vget_low_f16(a)));
        vst1q_f32(sums + 4, vcvt_high_f32_f16(a));
        sums += n->sums_column;
        row0 += n->in_column;
        row1 += n->in_column;
        row2 += n->in_column;
    }
}

TS_HIDDEN void TS_NAME(tunesmith_half_depthwise)(
    float *sums, const float16_t *in, const float16_t *weights, int32_t columns, int32_t lanes,
    int32_t channels, int32_t taps_y, int32_t taps_x, int32_t inner, int32_t sums_column,
    int32_t in_column, int32_t in_channel, int32_t in_y, int32_t in_x, int32_t in_inner,
    int32_t weight_channel, int32_t weight_y, int32_t weight_x, int32_t weight_inner)
{
    const nest n = {channels, taps_y, taps_x, inner, sums_column, in_column, in_channel, in_y,
                    in_x, in_inner, weight_channel, weight_y, weight_x, weight_inner};
    int32_t lane, column;
    for (lane = 0; lane < lanes; lane += LANES) {
        float *to = sums + lane;
        const float16_t *from = in + lane;
        if (channels * taps_y == 1 && taps_x == 3 && inner == 3) {
            run_3x3(to, from, weights + lane, &n, columns);
            continue;
        }
        for (column = 0; columns - column >= 8; column += 8) {
            run(to + column * sums_column, from + column * in_column, weights + lane, &n, 8);
        }
        for (; column < columns; column++) {
            run(to + column * sums_column, from + column * in_column, weights + lane, &n, 1);
        }
    }
}
