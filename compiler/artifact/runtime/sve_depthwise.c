/* Sums of products lane by lane in scalable vectors (Arm SVE), for any vector length.
 *
 * sums[column][lane] = sum over channel, ky, kx, inner of in[column, ..., lane] * weights[..., lane]
 *
 * Lanes lie together in all three. A vector of sums for each of up to eight columns stays in
 * registers over all that is summed; a vector of weights is loaded once for all of them. */
#include "runtime.h"

#include <arm_sve.h>

/* Weights are floats, or halves that are widened as they are loaded (sve_half_depthwise.c). */
#ifdef TUNESMITH_HALF_WEIGHTS
typedef uint16_t weight;
#define LOAD_WEIGHTS(p, from)                                                                    \
    svcvt_f32_f16_x(p, svreinterpret_f16_u32(svld1uh_u32(p, from)))
#else
typedef float weight;
#define LOAD_WEIGHTS(p, from) svld1_f32(p, from)
#endif
#ifndef TUNESMITH_DEPTHWISE
#define TUNESMITH_DEPTHWISE tunesmith_sve_depthwise
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Extents and strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t channels, taps_y, taps_x, inner;
    int32_t sums_column, in_column;
    int32_t in_channel, in_y, in_x, in_inner;
    int32_t weight_channel, weight_y, weight_x, weight_inner;
} nest;

#define COLUMNS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define START(c) svfloat32_t a##c = svdup_n_f32(0.0f);
#define ADD(c)                                                                                   \
    if (c < columns) {                                                                           \
        a##c = svmla_f32_x(all, a##c, w, svld1_f32(lanes, at + c * n->in_column));               \
    }
#define STORE(c)                                                                                 \
    if (c < columns) {                                                                           \
        svst1_f32(lanes, sums + c * n->sums_column, a##c);                                       \
    }

/* `columns` is a constant wherever this is called: what it leaves out is no code. */
ALWAYS_INLINE void run(float *sums, const float *in, const weight *weights, const nest *n,
                       svbool_t lanes, const int columns)
{
    const svbool_t all = svptrue_b32();
    int32_t channel, y, x, i;
    COLUMNS(START)
    for (channel = 0; channel < n->channels; channel++) {
        for (y = 0; y < n->taps_y; y++) {
            for (x = 0; x < n->taps_x; x++) {
                const float *at = in + channel * n->in_channel + y * n->in_y + x * n->in_x;
                const weight *from = weights + channel * n->weight_channel + y * n->weight_y +
                                    x * n->weight_x;
                for (i = 0; i < n->inner; i++, at += n->in_inner, from += n->weight_inner) {
                    const svfloat32_t w = LOAD_WEIGHTS(lanes, from);
                    COLUMNS(ADD)
                }
            }
        }
    }
    COLUMNS(STORE)
}

/* Hidden from the compiler, which would keep a pointer for each of the nine loads. */
#define HIDE(number) __asm__("" : "+r"(number));

/* Nine taps, the usual number: all weights stay in registers along a row of columns. */
static void run_3x3(float *sums, const float *in, const weight *weights, const nest *n,
                    svbool_t lanes, int32_t columns)
{
    const svbool_t all = svptrue_b32();
    const int64_t step = n->in_column, to = n->sums_column;
    const int64_t wy = n->weight_x, wx = n->weight_inner;
    const svfloat32_t w00 = LOAD_WEIGHTS(lanes, weights);
    const svfloat32_t w01 = LOAD_WEIGHTS(lanes, weights + wx);
    const svfloat32_t w02 = LOAD_WEIGHTS(lanes, weights + 2 * wx);
    const svfloat32_t w10 = LOAD_WEIGHTS(lanes, weights + wy);
    const svfloat32_t w11 = LOAD_WEIGHTS(lanes, weights + wy + wx);
    const svfloat32_t w12 = LOAD_WEIGHTS(lanes, weights + wy + 2 * wx);
    const svfloat32_t w20 = LOAD_WEIGHTS(lanes, weights + 2 * wy);
    const svfloat32_t w21 = LOAD_WEIGHTS(lanes, weights + 2 * wy + wx);
    const svfloat32_t w22 = LOAD_WEIGHTS(lanes, weights + 2 * wy + 2 * wx);
    const float *r0 = in, *r1 = in + n->in_x, *r2 = in + 2 * n->in_x;
    int64_t x1 = n->in_inner, x2 = 2 * x1;
    int32_t column;
    HIDE(x1)
    HIDE(x2)
    for (column = 0; column < columns; column++) {
        svfloat32_t a = svmul_f32_x(all, w00, svld1_f32(lanes, r0));
        a = svmla_f32_x(all, a, w01, svld1_f32(lanes, r0 + x1));
        a = svmla_f32_x(all, a, w02, svld1_f32(lanes, r0 + x2));
        a = svmla_f32_x(all, a, w10, svld1_f32(lanes, r1));
        a = svmla_f32_x(all, a, w11, svld1_f32(lanes, r1 + x1));
        a = svmla_f32_x(all, a, w12, svld1_f32(lanes, r1 + x2));
        a = svmla_f32_x(all, a, w20, svld1_f32(lanes, r2));
        a = svmla_f32_x(all, a, w21, svld1_f32(lanes, r2 + x1));
        a = svmla_f32_x(all, a, w22, svld1_f32(lanes, r2 + x2));
        svst1_f32(lanes, sums, a);
        sums += to;
        r0 += step;
        r1 += step;
        r2 += step;
        HIDE(r0)
        HIDE(r1)
        HIDE(r2)
    }
}

TS_HIDDEN void TS_NAME(TUNESMITH_DEPTHWISE)(
    float *sums, const float *in, const weight *weights, int32_t columns, int32_t lanes,
    int32_t channels, int32_t taps_y, int32_t taps_x, int32_t inner, int32_t sums_column,
    int32_t in_column, int32_t in_channel, int32_t in_y, int32_t in_x, int32_t in_inner,
    int32_t weight_channel, int32_t weight_y, int32_t weight_x, int32_t weight_inner)
{
    const nest n = {channels, taps_y, taps_x, inner, sums_column, in_column, in_channel, in_y,
                    in_x, in_inner, weight_channel, weight_y, weight_x, weight_inner};
    const int32_t width = (int32_t)svcntw();
    int32_t lane, column;
    for (lane = 0; lane < lanes; lane += width) {
        const svbool_t some = svwhilelt_b32_s32(lane, lanes);
        float *to = sums + lane;
        const float *from = in + lane;
        if (channels * taps_y == 1 && taps_x == 3 && inner == 3) {
            run_3x3(to, from, weights + lane, &n, some, columns);
            continue;
        }
        for (column = 0; columns - column >= 8; column += 8) {
            run(to + column * sums_column, from + column * in_column, weights + lane, &n, some, 8);
        }
        if (columns - column >= 4) {
            run(to + column * sums_column, from + column * in_column, weights + lane, &n, some, 4);
            column += 4;
        }
        for (; column < columns; column++) {
            run(to + column * sums_column, from + column * in_column, weights + lane, &n, some, 1);
        }
    }
}
