/* Runs phases of kernels on blocks of memory from a file: PROGRAM CALL BLOCKS
 * CALL, 64-bit numbers: phases; for each its function and its work items; operands; for each
 * whether it is a block of memory (else it lies in the weights), its size in bytes and the offset
 * that its pointer has. BLOCKS: the bytes of all blocks; they are written back. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_OPERANDS 256

typedef void (*phase)(void **pointers, int32_t begin, int32_t end);
extern const phase phases[]; /* generated */
extern const unsigned char *const weights;

enum { BAD_USE = 2, BAD_FILE = 3 };

static uint64_t number(FILE *file)
{
    uint64_t value = 0;
    if (fread(&value, sizeof value, 1, file) != 1) {
        exit(BAD_FILE);
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t functions[MOST_OPERANDS], extents[MOST_OPERANDS], sizes[MOST_OPERANDS];
    unsigned char *starts[MOST_OPERANDS];
    void *pointers[MOST_OPERANDS];
    uint64_t phase_count, operand_count, i;
    FILE *call, *blocks;

    if (argc != 3) {
        return BAD_USE;
    }
    call = fopen(argv[1], "rb");
    blocks = fopen(argv[2], "r+b");
    if (call == NULL || blocks == NULL || (phase_count = number(call)) > MOST_OPERANDS) {
        return BAD_FILE;
    }
    for (i = 0; i < phase_count; i++) {
        functions[i] = number(call);
        extents[i] = number(call);
    }
    if ((operand_count = number(call)) > MOST_OPERANDS) {
        return BAD_FILE;
    }
    for (i = 0; i < operand_count; i++) {
        uint64_t is_block = number(call);
        sizes[i] = number(call);
        starts[i] = is_block ? malloc(sizes[i] + 1) : (unsigned char *)weights;
        if (starts[i] == NULL || fread(starts[i], 1, sizes[i], blocks) != sizes[i]) {
            return BAD_FILE;
        }
        pointers[i] = starts[i] + number(call);
    }
    for (i = 0; i < phase_count; i++) {
        int32_t end = (int32_t)extents[i], middle = end / 2;
        phases[functions[i]](pointers, middle, end); /* any order of work items must do */
        if (middle > 0) {
            phases[functions[i]](pointers, 0, middle);
        }
    }
    rewind(blocks);
    for (i = 0; i < operand_count; i++) {
        if (fwrite(starts[i], 1, sizes[i], blocks) != sizes[i]) {
            return BAD_FILE;
        }
    }
    return fclose(blocks) == 0 ? 0 : BAD_FILE;
}
