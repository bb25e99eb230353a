/* Copies rows with zeros around them in scalable vectors (Arm SVE), for any vector length.
 *
 * to[channel][row][i] = from[offset + channel * from_channel + row * from_row + i]
 *   for rows first_row to end_row - 1 and elements begin to end - 1, else 0
 *
 * Rows of `to` lie one behind the other. What is 0 is not read: it may lie outside of `from`. */
#include "runtime.h"

#include <arm_sve.h>

static void fill(float *to, int64_t count)
{
    const int64_t width = (int64_t)svcntw();
    svfloat32_t zero = svdup_n_f32(0.0f);
    int64_t i;
    __asm__("" : "+w"(zero)); /* else it is made by an instruction of Advanced SIMD */
    for (i = 0; i < count; i += width) {
        svst1_f32(svwhilelt_b32_s64(i, count), to + i, zero);
    }
}

static void copy(float *to, const float *from, int64_t count)
{
    const svbool_t all = svptrue_b32();
    const int64_t width = (int64_t)svcntw();
    int64_t i;
    for (; count >= 8 * width; count -= 8 * width) {
        const svfloat32_t a = svld1_vnum_f32(all, from, 0), b = svld1_vnum_f32(all, from, 1);
        const svfloat32_t c = svld1_vnum_f32(all, from, 2), d = svld1_vnum_f32(all, from, 3);
        const svfloat32_t e = svld1_vnum_f32(all, from, 4), f = svld1_vnum_f32(all, from, 5);
        const svfloat32_t g = svld1_vnum_f32(all, from, 6), h = svld1_vnum_f32(all, from, 7);
        svst1_vnum_f32(all, to, 0, a);
        svst1_vnum_f32(all, to, 1, b);
        svst1_vnum_f32(all, to, 2, c);
        svst1_vnum_f32(all, to, 3, d);
        svst1_vnum_f32(all, to, 4, e);
        svst1_vnum_f32(all, to, 5, f);
        svst1_vnum_f32(all, to, 6, g);
        svst1_vnum_f32(all, to, 7, h);
        from += 8 * width;
        to += 8 * width;
    }
    for (i = 0; i < count; i += width) {
        const svbool_t some = svwhilelt_b32_s64(i, count);
        svst1_f32(some, to + i, svld1_f32(some, from + i));
    }
}

TS_HIDDEN void TS_NAME(tunesmith_sve_pad)(
    float *to, const float *from, int32_t offset, int32_t channels, int32_t rows, int32_t length,
    int32_t first_row, int32_t end_row, int32_t begin, int32_t end, int32_t from_channel,
    int32_t from_row)
{
    int32_t channel, row;
    for (channel = 0; channel < channels; channel++) {
        for (row = 0; row < rows; row++, to += length) {
            if (row < first_row || row >= end_row) {
                fill(to, length);
                continue;
            }
            fill(to, begin);
            copy(to + begin, from + ((int64_t)offset + channel * from_channel + row * from_row + begin),
                 end - begin);
            fill(to + end, length - end);
        }
    }
}
