/* One kernel as a function that TVM's RPC server can call. It is checked and timed in a process of
 * its own: one that crashes or hangs takes nothing else with it, and the server says how it ended. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, setitimer */
#include "tunesmith.h"
#include "trial_call.h"
#include "tvm_ffi_abi.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_REPEATS 64
#define REPEAT_NS 2000000 /* of one repeat at least: long enough for the clock */

/* Shared by both processes; operands that are written follow. */
typedef struct shared {
    int64_t end; /* 1: the kernel came to its end */
    double ns[MOST_REPEATS]; /* of one call, by repeat */
} shared;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t run_whole(int64_t calls)
{
    int64_t call, start = now_ns();
    uint32_t i;
    for (call = 0; call < calls; call++) {
        for (i = 0; i < numbers[0]; i++) {
            phases[i](pointers, 0, (int32_t)numbers[1 + i]);
        }
    }
    return now_ns() - start;
}

/* Put aside what the first run made: the outputs of the server's process are the last run's. */
static void keep_outputs(unsigned char *kept)
{
    uint32_t i;
    for (i = 0; i < operand_count(); i++) {
        if (operand(i)[0] == OUTPUT) {
            memcpy(kept, pointers[i], operand(i)[1]);
            kept += operand(i)[1];
        }
    }
}

/* In the kernel's process; returns its exit status. */
static int tried(shared *with, unsigned char *kept, int64_t repeats)
{
    int64_t i, once, calls;
    fill(FIRST_FILL);
    run_in_halves();
    if (!guards_are_intact()) {
        return WROTE_OUTSIDE;
    }
    keep_outputs(kept);
    fill(SECOND_FILL);
    run_whole(1);
    once = run_whole(1);
    calls = once < REPEAT_NS ? REPEAT_NS / (once < 1 ? 1 : once) + 1 : 1;
    for (i = 0; i < repeats; i++) {
        with->ns[i] = (double)run_whole(calls) / (double)calls;
    }
    if (!guards_are_intact()) {
        return WROTE_OUTSIDE;
    }
    with->end = 1;
    return 0;
}

static void start_clock(int64_t limit_ms)
{
    static const int deadly[] = {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    struct itimerval limit = {{0, 0}, {0, 0}};
    size_t i;
    for (i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        signal(deadly[i], SIG_DFL); /* whatever the server does about them */
    }
    limit.it_value.tv_sec = limit_ms / 1000;
    limit.it_value.tv_usec = limit_ms % 1000 * 1000;
    setitimer(ITIMER_REAL, &limit, NULL);
}

/* Bytes of memory that both processes share, and where in it what the first run made is kept. */
static size_t shared_bytes(size_t *kept)
{
    size_t bytes = (sizeof(shared) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, outputs = 0;
    uint32_t i;
    for (i = 0; i < operand_count(); i++) {
        if (operand(i)[0] != INPUT) {
            bytes += stride(operand(i)[1]);
        }
        if (operand(i)[0] == OUTPUT) {
            outputs += operand(i)[1];
        }
    }
    *kept = bytes;
    return bytes + outputs;
}

static int read_call(const ffi_any *argument)
{
    const uint32_t *call = (const uint32_t *)(const void *)ffi_data(argument);
    if (call == NULL || call[0] > MOST_NUMBERS) {
        return 0;
    }
    memcpy(numbers, call + 1, call[0] * sizeof numbers[0]);
    return 1;
}

/* Returns the number of tensors that are inputs; they stand before the outputs. */
static uint32_t place(unsigned char *begin, const ffi_any *tensors)
{
    uint32_t i, inputs = 0;
    begin += (sizeof(shared) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    for (i = 0; i < operand_count(); i++) {
        if (operand(i)[0] == INPUT) {
            pointers[i] = ffi_data(&tensors[inputs++]);
        } else {
            pointers[i] = begin + ALIGNMENT;
            begin += stride(operand(i)[1]);
        }
    }
    return inputs;
}

/* Outputs of the first run go to the first half of the tensors, those of the last one behind. */
static void copy_outputs(const ffi_any *tensors, const unsigned char *kept)
{
    uint32_t i, run, used = 0;
    for (run = 0; run < 2; run++) {
        for (i = 0; i < operand_count(); i++) {
            if (operand(i)[0] != OUTPUT) {
                continue;
            }
            memcpy(ffi_data(&tensors[used++]), run == 0 ? kept : pointers[i], operand(i)[1]);
            kept += run == 0 ? operand(i)[1] : 0;
        }
    }
}

/* 0, WROTE_OUTSIDE, or a signal that ended the process as a negative number. */
static int waited_for(pid_t process, const shared *with)
{
    int status;
    while (waitpid(process, &status, 0) < 0) {
        if (errno != EINTR) {
            return with->end ? 0 : -SIGABRT; /* someone else has waited for it */
        }
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* trial(limit_ms, repeats, ns, call, inputs..., first outputs..., last outputs...): `call` is a
 * file's content as trial_call.h has it, `ns` a double for each repeat. */
FFI_FUNCTION(trial)
{
    int64_t repeats = arguments[1].value.integer;
    const ffi_any *tensors = arguments + 4;
    size_t bytes, kept;
    unsigned char *memory;
    uint32_t inputs;
    pid_t process;
    int status;
    (void)self;
    (void)count;
    if (repeats > MOST_REPEATS || !read_call(&arguments[3])) {
        return ffi_return(result, TUNESMITH_E_ABI);
    }
    bytes = shared_bytes(&kept);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return ffi_return(result, TUNESMITH_E_MEMORY);
    }
    inputs = place(memory, tensors);
    process = fork();
    if (process == 0) {
        start_clock(arguments[0].value.integer);
        _exit(tried((shared *)(void *)memory, memory + kept, repeats));
    }
    status = process < 0 ? TUNESMITH_E_MEMORY : waited_for(process, (shared *)(void *)memory);
    if (status == 0) {
        memcpy(ffi_data(&arguments[2]), ((shared *)(void *)memory)->ns,
               (size_t)repeats * sizeof(double));
        copy_outputs(tensors + inputs, memory + kept);
    }
    munmap(memory, bytes);
    return ffi_return(result, status);
}
