/* Calls one kernel on operands from files: PROGRAM CALL INPUTS OUTPUTS
 * INPUTS: all inputs, each at a multiple of ALIGNMENT; they cannot be written. OUTPUTS: what the
 * first run made, then what the last one made. */
#define _DEFAULT_SOURCE /* mmap */
#include "runtime/runtime.h"
#include "trial_marks.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BAD_USE = 2, BAD_FILE = 3, OTHER_CPU = 4 };

const char *ts_missing_cpu_feature(void);

static int read_call(const char *name)
{
    FILE *file = fopen(name, "rb");
    uint32_t count;
    return file != NULL && fread(&count, sizeof count, 1, file) == 1 && count <= MOST_NUMBERS &&
           fread(numbers, sizeof numbers[0], count, file) == count && fclose(file) == 0;
}

static unsigned char *mapped(const char *name)
{
    struct stat status;
    void *begin;
    int file = open(name, O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0) {
        return NULL;
    }
    if (status.st_size == 0) {
        return (unsigned char *)numbers; /* no inputs: never read */
    }
    begin = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    return begin == MAP_FAILED ? NULL : begin;
}

static int place(unsigned char *inputs)
{
    uint32_t i;
    for (i = 0; i < operand_count(); i++) {
        const uint32_t *one = operand(i);
        if (one[0] == INPUT) {
            pointers[i] = inputs;
            inputs += (one[1] + ALIGNMENT - 1u) / ALIGNMENT * ALIGNMENT;
        } else {
            uintptr_t block = (uintptr_t)malloc(stride(one[1]) + ALIGNMENT);
            if (block == 0) {
                return 0;
            }
            block = (block + ALIGNMENT - 1u) / ALIGNMENT * ALIGNMENT;
            pointers[i] = (unsigned char *)block + ALIGNMENT;
        }
    }
    return 1;
}

static int write_outputs(FILE *file)
{
    uint32_t i;
    for (i = 0; i < operand_count(); i++) {
        const uint32_t *one = operand(i);
        if (one[0] == OUTPUT && fwrite(pointers[i], 1, one[1], file) != one[1]) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    unsigned char *inputs;
    FILE *outputs;
    if (argc != 4) {
        return BAD_USE;
    }
    if (ts_missing_cpu_feature() != NULL) {
        fprintf(stderr, "%s\n", ts_missing_cpu_feature());
        return OTHER_CPU;
    }
    inputs = mapped(argv[2]);
    outputs = fopen(argv[3], "wb");
    if (inputs == NULL || outputs == NULL || !read_call(argv[1]) || !place(inputs)) {
        return BAD_FILE;
    }
    fill(FIRST_FILL);
    run_in_halves();
    if (!guards_are_intact()) {
        return WROTE_OUTSIDE;
    }
    if (!write_outputs(outputs)) {
        return BAD_FILE;
    }
    fill(SECOND_FILL);
    run_counted();
    if (!guards_are_intact()) {
        return WROTE_OUTSIDE;
    }
    return write_outputs(outputs) && fclose(outputs) == 0 ? 0 : BAD_FILE;
}
