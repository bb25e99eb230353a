/* Runs one kernel of a model in an emulated microcontroller. call.bin: number of phases, then the
 * number in the table and the extent of each; number of operands, then for each 1, the bytes of its
 * block, and where in it the pointer points, or 0, 0, and where in the weights it points.
 * blocks.bin: what the blocks hold; it is written anew with what they hold then. */
#include "firmware_tables.h"
#include "semihosting.h"

#define MOST_NUMBERS 512

static uint32_t numbers[MOST_NUMBERS];
static void *pointers[MOST_NUMBERS / 3];

int main(void)
{
    uint32_t count, i, used = 0, operands;
    const uint32_t *phase = numbers + 1, *operand;
    intptr_t file = open_file("call.bin", MODE_READ);
    transfer(SYS_READ, file, &count, sizeof count);
    if (count > MOST_NUMBERS) {
        stop("the call has too many operands\n", 2);
    }
    transfer(SYS_READ, file, numbers, count * sizeof numbers[0]);
    close_file(file);
    operand = phase + 2 * numbers[0];
    operands = *operand++;
    for (i = 0; i < operands; i++, operand += 3) {
        if (operand[0] == 0) {
            pointers[i] = (void *)(uintptr_t)(weights + operand[2]);
            continue;
        }
        used = (used + 15u) & ~15u; /* blocks begin at a multiple of 16 */
        if (used + operand[1] > sizeof kernel_memory) {
            stop("the kernel's blocks do not fit the memory\n", 5);
        }
        pointers[i] = kernel_memory + used + operand[2];
        used += operand[1];
    }
    file = open_file("blocks.bin", MODE_READ);
    for (i = 0, used = 0, operand = phase + 2 * numbers[0] + 1; i < operands; i++, operand += 3) {
        if (operand[0] != 0) {
            transfer(SYS_READ, file, (unsigned char *)pointers[i] - operand[2], operand[1]);
        }
    }
    close_file(file);
    for (i = 0; i < numbers[0]; i++, phase += 2) {
        int32_t extent = (int32_t)phase[1], middle = extent / 2;
        phases[phase[0]](pointers, middle, extent); /* any order must do */
        if (middle > 0) {
            phases[phase[0]](pointers, 0, middle);
        }
    }
    file = open_file("blocks.bin", MODE_WRITE);
    for (i = 0, operand = phase + 1; i < operands; i++, operand += 3) {
        if (operand[0] != 0) {
            transfer(SYS_WRITE, file, (unsigned char *)pointers[i] - operand[2], operand[1]);
        }
    }
    close_file(file);
    stop(0, 0);
}
