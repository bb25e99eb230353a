/* Rows of small integers as int16, zero point subtracted, zeros around them (Arm DSP extension:
 * four at a time). Without the extension the same in plain C.
 *
 * `shift` is added to each integer; `before` and `after` are how many zeros stand around. */
#include "runtime.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* They are few: without the empty statement GCC would make a call of memset of the loop. */
static int16_t *zeros(int16_t *to, int32_t count)
{
    for (; count > 1; count -= 2) {
        memset(to, 0, 2 * sizeof *to);
        to += 2;
#if defined(__GNUC__)
        __asm__ volatile("");
#endif
    }
    if (count > 0) {
        *to++ = 0;
    }
    return to;
}

ALWAYS_INLINE int16_t shifted(const int8_t *from, int32_t shift, const int is_unsigned)
{
    return (int16_t)((is_unsigned ? (int32_t)(uint8_t)*from : (int32_t)*from) + shift);
}

/* Four integers: two to `first`, two to `second`. `both` is the shift in both halves. */
ALWAYS_INLINE void four(int16_t *first, int16_t *second, const int8_t *from, int32_t both,
                        const int is_unsigned)
{
#if defined(__ARM_FEATURE_DSP)
    int32_t even, odd, given;
    memcpy(&given, from, sizeof given);
    if (is_unsigned) {
        __asm__("uxtab16 %0, %1, %2" : "=r"(even) : "r"(both), "r"(given));
        __asm__("uxtab16 %0, %1, %2, ror #8" : "=r"(odd) : "r"(both), "r"(given));
    } else {
        __asm__("sxtab16 %0, %1, %2" : "=r"(even) : "r"(both), "r"(given));
        __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(odd) : "r"(both), "r"(given));
    }
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(given) : "r"(even), "r"(odd));
    memcpy(first, &given, sizeof given);
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(given) : "r"(odd), "r"(even));
    memcpy(second, &given, sizeof given);
#else
    const int32_t shift = (int16_t)(both & 0xffff);
    first[0] = shifted(from, shift, is_unsigned);
    first[1] = shifted(from + 1, shift, is_unsigned);
    second[0] = shifted(from + 2, shift, is_unsigned);
    second[1] = shifted(from + 3, shift, is_unsigned);
#endif
}

/* The same number in both halves of a word. */
static int32_t in_both_halves(int32_t shift)
{
    return (int32_t)((uint32_t)(shift & 0xffff) * 0x10001u);
}

ALWAYS_INLINE int16_t *widened(int16_t *to, const int8_t *from, int32_t count, int32_t shift,
                               const int is_unsigned)
{
    const int32_t both = in_both_halves(shift);
    for (; count >= 8; count -= 8) {
        four(to, to + 2, from, both, is_unsigned);
        four(to + 4, to + 6, from + 4, both, is_unsigned);
        to += 8;
        from += 8;
    }
    for (; count > 0; count--) {
        *to++ = shifted(from++, shift, is_unsigned);
    }
    return to;
}

/* Integers that lie together, to int16 that lie together. */
TS_HIDDEN void TS_NAME(tunesmith_pair_rows)(int16_t *to, const void *from, int32_t before,
                                            int32_t count, int32_t after, int32_t shift,
                                            int32_t is_unsigned)
{
    to = zeros(to, before);
    to = is_unsigned ? widened(to, from, count, shift, 1) : widened(to, from, count, shift, 0);
    zeros(to, after);
}

ALWAYS_INLINE void position(int16_t *to, int32_t plane, const int8_t *from, int32_t channels,
                            int32_t shift, const int is_unsigned)
{
    const int32_t both = in_both_halves(shift);
    for (; channels >= 8; channels -= 8) {
        four(to, to + plane, from, both, is_unsigned);
        to += 2 * plane;
        four(to, to + plane, from + 4, both, is_unsigned);
        to += 2 * plane;
        from += 8;
    }
    for (; channels >= 4; channels -= 4) {
        four(to, to + plane, from, both, is_unsigned);
        to += 2 * plane;
        from += 4;
    }
    if (channels > 0) { /* two */
        to[0] = shifted(from, shift, is_unsigned);
        to[1] = shifted(from + 1, shift, is_unsigned);
    }
}

static void empty_positions(int16_t *to, int32_t count, int32_t channels, int32_t plane)
{
    for (; channels > 0 && count > 0; channels -= 2) {
        zeros(to, 2 * count);
        to += plane;
    }
}

/* Positions of an even number of channels, to planes of two channels each; `before`, `count` and
 * `after` are positions. */
TS_HIDDEN void TS_NAME(tunesmith_pair_planes)(int16_t *to, const void *given, int32_t before,
                                              int32_t count, int32_t after, int32_t channels,
                                              int32_t plane, int32_t shift, int32_t is_unsigned)
{
    const int8_t *from = given;
    empty_positions(to, before, channels, plane);
    for (to += 2 * before; count > 0; count--) {
        if (is_unsigned) {
            position(to, plane, from, channels, shift, 1);
        } else {
            position(to, plane, from, channels, shift, 0);
        }
        to += 2;
        from += channels;
    }
    empty_positions(to, after, channels, plane);
}
