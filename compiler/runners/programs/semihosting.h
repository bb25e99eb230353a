/* Files of the host, for a program in QEMU: Arm's semihosting interface (Arm IHI 0099), which
 * RISC-V shares. */
#ifndef TUNESMITH_SEMIHOSTING_H
#define TUNESMITH_SEMIHOSTING_H

#include <stdint.h>

enum { SYS_OPEN = 1, SYS_CLOSE = 2, SYS_WRITE0 = 4, SYS_WRITE = 5, SYS_READ = 6,
       SYS_SEEK = 0x0A, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ = 1, MODE_WRITE = 5 }; /* rb, wb */

static intptr_t semihosting(intptr_t operation, const void *argument)
{
#if defined(__riscv)
    register intptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n.option norvc\n.balign 16\n"
                     "slli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
#else
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

static void stop(const char *message, int status)
{
    uintptr_t words[2] = {0x20026u, 0}; /* the application has ended; its status */
    if (message != 0) {
        semihosting(SYS_WRITE0, message);
    }
    words[1] = (uintptr_t)status;
    semihosting(SYS_EXIT_EXTENDED, words);
    for (;;) {
    }
}

static intptr_t open_file(const char *name, int mode)
{
    uintptr_t words[3] = {0, 0, 0};
    intptr_t file;
    const char *end = name;
    while (*end != 0) {
        end++;
    }
    words[0] = (uintptr_t)name;
    words[1] = (uintptr_t)mode;
    words[2] = (uintptr_t)(end - name);
    file = semihosting(SYS_OPEN, words);
    if (file < 0) {
        stop("a file cannot be opened\n", 2);
    }
    return file;
}

static void transfer(int operation, intptr_t file, const void *data, uint32_t size)
{
    uintptr_t words[3];
    words[0] = (uintptr_t)file;
    words[1] = (uintptr_t)data;
    words[2] = size;
    if (size != 0 && semihosting(operation, words) != 0) {
        stop("a file is too short or cannot be written\n", 2);
    }
}

static __attribute__((unused)) void seek(intptr_t file, uint32_t position)
{
    uintptr_t words[2];
    words[0] = (uintptr_t)file;
    words[1] = position;
    if (semihosting(SYS_SEEK, words) != 0) {
        stop("a file is too short\n", 2);
    }
}

static void close_file(intptr_t file)
{
    uintptr_t word = (uintptr_t)file;
    semihosting(SYS_CLOSE, &word);
}

/* Faults end the program, which board/startup.c would keep in a loop. */
void ts_fault(void);
void ts_fault(void)
{
    stop("the processor reports a fault\n", 3);
}

/* ---- how deep the stack was ---- */

extern uint32_t ts_stack_top[], ts_stack_floor[]; /* the floor: where variables end */
#define PAINT 0xDEADBEEFu
#define MOST_PAINTED_BYTES 262144u
#define UNPAINTED_BYTES 256 /* of the painting function itself, and an interrupt's frame */

static volatile uint32_t *lowest_painted(void)
{
    uintptr_t top = (uintptr_t)ts_stack_top, floor = (uintptr_t)ts_stack_floor;
    uintptr_t bytes = top - floor > MOST_PAINTED_BYTES ? MOST_PAINTED_BYTES : top - floor;
    return (volatile uint32_t *)(top - (bytes & ~(uintptr_t)3));
}

static __attribute__((noinline, unused)) void paint_stack(void)
{
    volatile uint32_t here = 0;
    volatile uint32_t *word = lowest_painted();
    (void)here;
    while ((uintptr_t)word + UNPAINTED_BYTES < (uintptr_t)&here) {
        *word++ = PAINT;
    }
}

/* Bytes between the top of the stack and the deepest word that was written. */
static __attribute__((noinline, unused)) uint32_t painted_depth(void)
{
    const volatile uint32_t *word = lowest_painted();
    while (word < (const volatile uint32_t *)ts_stack_top && *word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)ts_stack_top - (uintptr_t)word);
}

#endif
