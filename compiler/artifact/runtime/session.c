/* Sessions: memory and threads of their own, or the application's. */
#define _DEFAULT_SOURCE 1 /* madvise */
#define _POSIX_C_SOURCE 200809L
#include "pool.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define TS_MOST_THREADS 1024
#define TS_DEFAULT_SPIN_US 100
#define TS_LINE_BYTES 64
#define TS_HUGE_PAGE_BYTES ((size_t)2 << 20) /* of x86-64, and of Arm and RISC-V with 4 kB pages */

struct ts_session {
    const ts_program *program;
    tunesmith_options options;
    ts_pool *pool;               /* NULL: one thread, or the application's parallel_for */
    void **regions;              /* model->region_count pointers into memory */
    void *memory;                /* all regions and the scratch of further workers */
    unsigned char *more_scratch;
    size_t more_scratch_stride;
    int busy;
};

/* Parts of a phase for each thread: what others have not begun can be taken over. */
#define TS_PARTS_FOR_EACH_THREAD 4

/* One phase, split evenly into `parts`. */
typedef struct ts_job {
    const ts_frame *frame;
    const ts_step *step;
    int32_t parts;
} ts_job;

static size_t round_up(size_t size, size_t alignment)
{
    return (size + alignment - 1) / alignment * alignment;
}

static void run_part(void *context, int32_t worker, int32_t part)
{
    const ts_job *job = (const ts_job *)context;
    int64_t extent = job->step->extent;
    int32_t begin = (int32_t)(extent * part / job->parts);
    int32_t end = (int32_t)(extent * (part + 1) / job->parts);
    job->step->run(job->frame, worker, begin, end);
}

/* For an application's pool: a worker for each part, since only the index tells workers apart. */
static void run_share(void *context, int32_t index)
{
    run_part(context, index, index);
}

static int32_t smaller(int64_t a, int64_t b)
{
    return (int32_t)(a < b ? a : b);
}

static void run_parallel(ts_session *session, const ts_frame *frame, const ts_step *step)
{
    ts_job job;
    job.frame = frame;
    job.step = step;
    if (session->options.parallel_for != NULL) {
        job.parts = smaller(session->options.threads, step->extent);
        session->options.parallel_for(session->options.parallel_context, job.parts, run_share, &job);
    } else {
        job.parts = smaller((int64_t)session->options.threads * TS_PARTS_FOR_EACH_THREAD,
                            step->extent);
        ts_pool_run(session->pool, job.parts, run_part, &job);
    }
}

static void run_steps(ts_session *session, const void *const *inputs, void *const *outputs)
{
    const ts_program *program = session->program;
    int32_t count = program->first_step[program->model->call_count];
    ts_frame frame;
    int32_t i;
    frame.inputs = inputs;
    frame.outputs = outputs;
    frame.regions = session->regions;
    frame.more_scratch = session->more_scratch;
    frame.more_scratch_stride = session->more_scratch_stride;
    for (i = 0; i < count; i++) {
        const ts_step *step = &program->steps[i];
        if (session->options.threads > 1 && step->parallel && step->extent > 1) {
            run_parallel(session, &frame, step);
        } else {
            step->run(&frame, 0, 0, step->extent);
        }
    }
    if (program->finish != NULL) {
        program->finish(&frame);
    }
}

/* Ask for large pages where whole ones fit: small ones lie anywhere in physical memory, so that
 * they compete for places of the second cache, and there are more than a core has translations for.
 * Only a wish: the memory is as good without. */
static void *allocate_pages(size_t bytes, size_t alignment)
{
    void *memory = NULL;
#ifdef MADV_HUGEPAGE
    size_t whole = bytes / TS_HUGE_PAGE_BYTES * TS_HUGE_PAGE_BYTES;
    if (whole != 0 && alignment < TS_HUGE_PAGE_BYTES) {
        alignment = TS_HUGE_PAGE_BYTES;
    }
#endif
    if (posix_memalign(&memory, alignment, bytes) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (whole != 0) {
        (void)madvise(memory, whole, MADV_HUGEPAGE);
    }
#endif
    return memory;
}

/* Give every region its place behind the ones before it. Returns 0 if memory is short. */
static int allocate(ts_session *session)
{
    const tunesmith_model *model = session->program->model;
    size_t helpers = (size_t)session->options.threads - 1;
    size_t stride = round_up(model->worker_scratch_bytes, TS_LINE_BYTES);
    size_t alignment = TS_LINE_BYTES;
    size_t bytes = 0;
    int32_t i;
    if (stride != 0 && helpers > SIZE_MAX / 4 / stride) {
        return 0;
    }
    for (i = 0; i < model->region_count; i++) {
        alignment = alignment < model->regions[i].alignment ? model->regions[i].alignment : alignment;
    }
    for (i = 0; i < model->region_count; i++) {
        bytes = round_up(bytes, alignment) + model->regions[i].size_bytes;
    }
    bytes = round_up(bytes, alignment);
    session->regions = (void **)calloc((size_t)model->region_count + 1, sizeof(void *));
    session->memory = allocate_pages(bytes + helpers * stride + alignment, alignment);
    if (session->regions == NULL || session->memory == NULL) {
        return 0;
    }
    session->more_scratch = (unsigned char *)session->memory + bytes;
    session->more_scratch_stride = stride;
    for (i = 0, bytes = 0; i < model->region_count; i++) {
        bytes = round_up(bytes, alignment);
        session->regions[i] = (unsigned char *)session->memory + bytes;
        bytes += model->regions[i].size_bytes;
    }
    return 1;
}

/* Copy what the caller's version of the struct has; the rest is zero. */
static int read_options(tunesmith_options *options, const tunesmith_options *given)
{
    memset(options, 0, sizeof *options);
    if (given != NULL) {
        size_t size = given->struct_size < sizeof *options ? given->struct_size : sizeof *options;
        if (size < offsetof(tunesmith_options, parallel_for)) {
            return TUNESMITH_E_ABI;
        }
        memcpy(options, given, size);
    }
    if (options->device != 0 || options->stream != NULL) {
        return TUNESMITH_E_DEVICE;
    }
    options->threads = options->threads < 1 ? 1 : options->threads;
    options->threads = options->threads > TS_MOST_THREADS ? TS_MOST_THREADS : options->threads;
    options->spin_us = options->spin_us == 0 ? TS_DEFAULT_SPIN_US : options->spin_us;
    return TUNESMITH_OK;
}

int ts_create(const ts_program *program, ts_session **created, const tunesmith_options *given)
{
    ts_session *session;
    tunesmith_options options;
    int error = read_options(&options, given);
    if (error == TUNESMITH_OK && ts_missing_cpu_feature() != NULL) {
        error = TUNESMITH_E_CPU;
    }
    if (error != TUNESMITH_OK) {
        return error;
    }
    session = (ts_session *)calloc(1, sizeof *session);
    if (session == NULL) {
        return TUNESMITH_E_MEMORY;
    }
    session->program = program;
    session->options = options;
    if (!allocate(session)) {
        ts_destroy(session);
        return TUNESMITH_E_MEMORY;
    }
    if (options.threads > 1 && options.parallel_for == NULL) {
        session->pool = ts_pool_create(options.threads - 1, options.spin_us);
        if (session->pool == NULL) {
            ts_destroy(session);
            return TUNESMITH_E_MEMORY;
        }
    }
    *created = session;
    return TUNESMITH_OK;
}

int ts_session_run(ts_session *session, const void *const *inputs, void *const *outputs)
{
    int error;
    if (session == NULL) {
        return TUNESMITH_E_NULL;
    }
    error = ts_check(session->program->model, inputs, outputs);
    if (error != TUNESMITH_OK) {
        return error;
    }
    if (__atomic_exchange_n(&session->busy, 1, __ATOMIC_ACQUIRE)) {
        return TUNESMITH_E_BUSY;
    }
    run_steps(session, inputs, outputs);
    __atomic_store_n(&session->busy, 0, __ATOMIC_RELEASE);
    return TUNESMITH_OK;
}

void ts_destroy(ts_session *session)
{
    if (session != NULL) {
        ts_pool_destroy(session->pool);
        free(session->memory);
        free(session->regions);
        free(session);
    }
}
