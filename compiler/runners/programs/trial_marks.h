/* Calls of a kernel between marks, up to which a plugin of the emulator counts instructions. */
#ifndef TRIAL_MARKS_H
#define TRIAL_MARKS_H

#include "trial_call.h"

#define COUNTED_RUNS 3

void tunesmith_mark(void);
__attribute__((noinline, used)) void tunesmith_mark(void)
{
    __asm__ volatile("" : : : "memory");
}

/* Between the first two marks is what a mark takes and no phase, between others a run as well. */
static void run_counted(void)
{
    /* In the last round, too, there is none: no mark ends it. Volatile: rounds are to be alike. */
    volatile uint32_t counts[COUNTED_RUNS + 2] = {0};
    uint32_t run, i, count;
    for (run = 1; run <= COUNTED_RUNS; run++) {
        counts[run] = numbers[0];
    }
    for (run = 0; run < COUNTED_RUNS + 2; run++) {
        tunesmith_mark();
        for (i = 0, count = counts[run]; i < count; i++) {
            phases[i](pointers, 0, (int32_t)numbers[1 + i]);
        }
    }
}

#endif
