/* How a kernel is called for a trial, in an emulator or on a board. call.bin, numbers of 32 bits: how many follow; phases; work items
 * of each; operands; for each what it is and its bytes. The first run takes the second half of the work
 * items first, since any order must do; the others are measured. */
#ifndef TRIAL_CALL_H
#define TRIAL_CALL_H

#include <stdint.h>
#include <string.h>

#define MOST_NUMBERS 1024
#define ALIGNMENT 64 /* of all operands; as many bytes around what may be written are guards */
#define GUARD 0x5A
/* What memory is filled with before the first run and before the others: NaN as a float, and two
 * values of an integer, so that an element that is never written is wrong after one of them. */
#define FIRST_FILL 0xFF
#define SECOND_FILL 0x7F

enum { INPUT, OUTPUT, SCRATCH };
enum { NO_ROOM = 5, WROTE_OUTSIDE = 6 }; /* exit statuses; tuner/trial_files.py has them too */

typedef void (*phase)(void **pointers, int32_t begin, int32_t end);
extern const phase phases[]; /* generated */

static uint32_t numbers[MOST_NUMBERS];
static void *pointers[MOST_NUMBERS / 2];

static const uint32_t *operand(uint32_t number)
{
    return numbers + 2 + numbers[0] + 2 * number;
}

static uint32_t operand_count(void)
{
    return numbers[1 + numbers[0]];
}

/* Bytes from one operand to the next, guards included. */
static uint32_t stride(uint32_t bytes)
{
    return (bytes + 3u * ALIGNMENT - 1u) / ALIGNMENT * ALIGNMENT;
}

static void fill(int byte)
{
    uint32_t i;
    for (i = 0; i < operand_count(); i++) {
        const uint32_t *one = operand(i);
        if (one[0] != INPUT) {
            unsigned char *begin = (unsigned char *)pointers[i];
            memset(begin - ALIGNMENT, GUARD, ALIGNMENT);
            memset(begin, byte, one[1]);
            memset(begin + one[1], GUARD, ALIGNMENT);
        }
    }
}

static int guards_are_intact(void)
{
    uint32_t i, k;
    for (i = 0; i < operand_count(); i++) {
        const uint32_t *one = operand(i);
        const unsigned char *begin = (const unsigned char *)pointers[i];
        for (k = 0; one[0] != INPUT && k < ALIGNMENT; k++) {
            if (begin[(int32_t)k - ALIGNMENT] != GUARD || begin[one[1] + k] != GUARD) {
                return 0;
            }
        }
    }
    return 1;
}

static void run_in_halves(void)
{
    uint32_t i;
    for (i = 0; i < numbers[0]; i++) {
        int32_t end = (int32_t)numbers[1 + i], middle = end / 2;
        phases[i](pointers, middle, end);
        if (middle > 0) {
            phases[i](pointers, 0, middle);
        }
    }
}

#endif
