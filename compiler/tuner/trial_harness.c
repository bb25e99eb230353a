/* Runs one kernel again and again and reads the clock; in a process that measures candidates.
 *
 * A kernel is a library of its own with a function `trial_call`, which takes a phase's pointers
 * from an array. With several threads, phases are cut and run as by a session (`session.c`), by the
 * same pool. */
#define _GNU_SOURCE /* RUSAGE_THREAD */
#include "runtime/pool.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define SHOWN __attribute__((visibility("default")))
/* As in session.c. */
#define TS_PARTS_FOR_EACH_THREAD 4
#define TS_DEFAULT_SPIN_US 100

typedef void (*trial_function)(void);
typedef void (*trial_call)(trial_function function, void **pointers, int32_t begin, int32_t end);

typedef struct trial_phase {
    trial_function function;
    int32_t extent;
} trial_phase;

typedef struct trial_memory {
    const unsigned char *start;
    int64_t bytes;
} trial_memory;

typedef struct trial_kernel {
    trial_call call;
    const trial_phase *phases;
    int32_t phase_count;
    int32_t threads; /* 1: the pool is not used */
    void ***pointers; /* of each worker */
    ts_pool *pool;
    const unsigned char *others; /* what the rest of a model reads between two calls, or none */
    int64_t other_bytes;
    const trial_memory *blocks; /* what it has just written, or will write: the arena is in use */
    int32_t block_count;
} trial_kernel;

/* One measurement: `calls` calls. */
typedef struct trial_repeat {
    int64_t ns;
    int64_t interruptions; /* how often the system took a processor away meanwhile */
} trial_repeat;

typedef struct trial_job {
    const trial_kernel *kernel;
    const trial_phase *phase;
    int32_t parts;
} trial_job;

static int64_t read_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Whether the clock of this thread's own processor time is as good as the other one. */
static int has_fine_thread_clock(void)
{
    struct timespec step;
    return clock_getres(CLOCK_THREAD_CPUTIME_ID, &step) == 0 && step.tv_sec == 0 &&
           step.tv_nsec <= 1000;
}

static int64_t interruptions(const trial_kernel *kernel)
{
    struct rusage usage;
    getrusage(kernel->threads > 1 ? RUSAGE_SELF : RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void run_part(void *context, int32_t worker, int32_t part)
{
    const trial_job *job = (const trial_job *)context;
    int64_t extent = job->phase->extent;
    int32_t begin = (int32_t)(extent * part / job->parts);
    int32_t end = (int32_t)(extent * (part + 1) / job->parts);
    job->kernel->call(job->phase->function, job->kernel->pointers[worker], begin, end);
}

static void run_once(const trial_kernel *kernel)
{
    int32_t i;
    for (i = 0; i < kernel->phase_count; i++) {
        const trial_phase *phase = &kernel->phases[i];
        if (kernel->threads > 1 && phase->extent > 1) {
            int64_t parts = (int64_t)kernel->threads * TS_PARTS_FOR_EACH_THREAD;
            trial_job job;
            job.kernel = kernel;
            job.phase = phase;
            job.parts = (int32_t)(parts < phase->extent ? parts : phase->extent);
            ts_pool_run(kernel->pool, job.parts, run_part, &job);
        } else {
            kernel->call(phase->function, kernel->pointers[0], 0, phase->extent);
        }
    }
}

/* One call on this thread, the second half of each phase's work items first: any order must do. */
SHOWN void trial_run(const trial_kernel *kernel)
{
    int32_t i;
    for (i = 0; i < kernel->phase_count; i++) {
        const trial_phase *phase = &kernel->phases[i];
        int32_t middle = phase->extent / 2;
        kernel->call(phase->function, kernel->pointers[0], middle, phase->extent);
        if (middle > 0) {
            kernel->call(phase->function, kernel->pointers[0], 0, middle);
        }
    }
}

static void read_all(const unsigned char *start, int64_t bytes)
{
    const volatile unsigned char *at = start;
    int64_t i;
    for (i = 0; i < bytes; i += 64) {
        (void)at[i];
    }
}

/* Leave the caches as the kernel finds them in a run of the model: its constants were read a whole
 * run ago. */
static void run_the_others(const trial_kernel *kernel)
{
    int32_t i;
    read_all(kernel->others, kernel->other_bytes);
    for (i = 0; i < kernel->block_count; i++) {
        read_all(kernel->blocks[i].start, kernel->blocks[i].bytes);
    }
}

/* One measurement. What the system gave to others in the middle of it is no time of the kernel; of
 * several threads nobody knows what each would have done meanwhile. */
static trial_repeat measure_once(const trial_kernel *kernel, int64_t calls)
{
    int64_t before, own_start, start, call, own_ns;
    trial_repeat repeat;
    if (kernel->other_bytes > 0) {
        run_the_others(kernel);
    }
    before = interruptions(kernel);
    own_start = read_ns(CLOCK_THREAD_CPUTIME_ID);
    start = read_ns(CLOCK_MONOTONIC);
    for (call = 0; call < calls; call++) {
        run_once(kernel);
    }
    repeat.ns = read_ns(CLOCK_MONOTONIC) - start;
    own_ns = read_ns(CLOCK_THREAD_CPUTIME_ID) - own_start;
    repeat.interruptions = interruptions(kernel) - before;
    if (repeat.interruptions > 0 && kernel->threads == 1 && own_ns < repeat.ns &&
        has_fine_thread_clock()) {
        repeat.ns = own_ns;
    }
    return repeat;
}

/* Measure `count` times, each over `calls` calls. */
SHOWN void trial_measure(const trial_kernel *kernel, int64_t calls, int32_t count,
                         trial_repeat *repeats)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        repeats[i] = measure_once(kernel, calls);
    }
}

SHOWN void *trial_open_pool(int32_t threads)
{
    return ts_pool_create(threads - 1, TS_DEFAULT_SPIN_US);
}

/* Memory between pages that must not be touched, `guard_bytes` on each side; NULL if there is
 * none. All sizes are multiples of a page. */
SHOWN void *trial_map(size_t bytes, size_t guard_bytes)
{
    void *all = mmap(NULL, bytes + 2 * guard_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *inner;
    if (all == MAP_FAILED) {
        return NULL;
    }
    inner = (unsigned char *)all + guard_bytes;
    return mprotect(inner, bytes, PROT_READ | PROT_WRITE) == 0 ? inner : NULL;
}

SHOWN void trial_unmap(void *inner, size_t bytes, size_t guard_bytes)
{
    munmap((unsigned char *)inner - guard_bytes, bytes + 2 * guard_bytes);
}
