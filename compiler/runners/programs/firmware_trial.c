/* Calls one kernel in an emulated microcontroller, on inputs that are part of the firmware:
 * each begins at a multiple of ALIGNMENT. outputs.bin: what the first run made, then what the last
 * one made. */
#include "firmware_trial_memory.h" /* generated: where the board's RAM is free */
#include "semihosting.h"
#include "trial_marks.h"

extern unsigned char tunesmith_trial_inputs[];

/* The next block of RAM with guards around it, from the first region that has room. */
static void *reserved(uint32_t bytes)
{
    uint32_t i;
    for (i = 0; i < sizeof free_memory / sizeof free_memory[0]; i++) {
        uintptr_t begin = (free_memory[i].begin + ALIGNMENT - 1u) / ALIGNMENT * ALIGNMENT;
        if (begin < free_memory[i].end && stride(bytes) <= free_memory[i].end - begin) {
            free_memory[i].begin = begin + stride(bytes);
            return (void *)(begin + ALIGNMENT);
        }
    }
    stop("the kernel's outputs and scratch do not fit the board's RAM\n", NO_ROOM);
    return 0;
}

static void place(void)
{
    unsigned char *inputs = tunesmith_trial_inputs;
    uint32_t i;
    for (i = 0; i < operand_count(); i++) {
        const uint32_t *one = operand(i);
        if (one[0] == INPUT) {
            pointers[i] = inputs;
            inputs += (one[1] + ALIGNMENT - 1u) / ALIGNMENT * ALIGNMENT;
        } else {
            pointers[i] = reserved(one[1]);
        }
    }
}

static void write_outputs(intptr_t file)
{
    uint32_t i;
    if (!guards_are_intact()) {
        stop("the kernel writes outside its outputs and scratch\n", WROTE_OUTSIDE);
    }
    for (i = 0; i < operand_count(); i++) {
        const uint32_t *one = operand(i);
        if (one[0] == OUTPUT) {
            transfer(SYS_WRITE, file, pointers[i], one[1]);
        }
    }
}

int main(void)
{
    uint32_t count;
    intptr_t file = open_file("call.bin", MODE_READ), outputs;
    transfer(SYS_READ, file, &count, sizeof count);
    if (count > MOST_NUMBERS) {
        stop("the call has too many operands\n", 2);
    }
    transfer(SYS_READ, file, numbers, count * sizeof numbers[0]);
    close_file(file);
    place();
    outputs = open_file("outputs.bin", MODE_WRITE);
    fill(FIRST_FILL);
    run_in_halves();
    write_outputs(outputs);
    fill(SECOND_FILL);
    run_counted();
    write_outputs(outputs);
    close_file(outputs);
    stop(0, 0);
}
