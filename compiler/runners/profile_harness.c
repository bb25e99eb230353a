/* Linked with a model's static library, for profiles only: puts clocks between the kernels.
 *
 * The linker's --wrap sends the entry's call of ts_create here. The session is then made for a
 * copy of the program in which a serial step that reads the clock stands before each step and at
 * the end. The kernels, the pool and their order are the shipped ones, to the byte.
 *
 * One session at a time, one caller. WRAP_CREATE, REAL_CREATE and MODEL are names with the model's
 * prefix, set by the compiler's command line. */
#define _POSIX_C_SOURCE 200809L
#include "runtime/runtime.h"

#include <stdlib.h>
#include <time.h>

/* A worker's share of a step. */
typedef struct profile_span {
    int64_t begin_ns;
    int64_t end_ns;
    int32_t step;
    int32_t items;
} profile_span;

TS_HIDDEN int WRAP_CREATE(const ts_program *, ts_session **, const tunesmith_options *);
TS_HIDDEN int REAL_CREATE(const ts_program *, ts_session **, const tunesmith_options *);
const tunesmith_model *MODEL(void);

int profile_open(int32_t threads, int32_t with_spans);
void profile_close(void);
int32_t profile_step_count(void);
int32_t profile_first_step(int32_t call);
int profile_run(const void *const *inputs, void *const *outputs, int32_t runs, int64_t *stamps);
int profile_trace(const void *const *inputs, void *const *outputs, profile_span *spans,
                  int32_t capacity, int32_t *counts);

static const ts_program *shipped;
static ts_program clocked;
static ts_step *clocked_steps;
static int32_t *clocked_first_step;
static int32_t step_count; /* of the shipped program */
static int32_t spans_wanted;
static tunesmith_session *session;

static int64_t *stamp;        /* where the next clock reading goes */
static int32_t current_step;  /* written by the calling thread before the step's fork */
static profile_span *span_log; /* span_capacity for each worker */
static int32_t *span_counts;   /* may exceed span_capacity: those were dropped */
static int32_t span_capacity;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void read_clock(const ts_frame *frame, int32_t worker, int32_t begin, int32_t end)
{
    (void)frame;
    (void)worker;
    (void)begin;
    (void)end;
    *stamp++ = now_ns();
    current_step++;
}

static void run_with_span(const ts_frame *frame, int32_t worker, int32_t begin, int32_t end)
{
    int32_t step = current_step - 1;
    int64_t start = now_ns();
    int32_t count;
    shipped->steps[step].run(frame, worker, begin, end);
    count = span_counts[worker]++;
    if (count < span_capacity) {
        profile_span *span = &span_log[(size_t)worker * (size_t)span_capacity + (size_t)count];
        span->begin_ns = start;
        span->end_ns = now_ns();
        span->step = step;
        span->items = end - begin;
    }
}

static ts_step clock_step(void)
{
    ts_step step = {0};
    step.run = read_clock;
    step.extent = 1;
    return step;
}

/* Called by the entry in place of ts_create. */
int WRAP_CREATE(const ts_program *program, ts_session **created, const tunesmith_options *options)
{
    int32_t calls = program->model->call_count;
    int32_t i;
    shipped = program;
    step_count = program->first_step[calls];
    clocked_steps = (ts_step *)calloc(2 * (size_t)step_count + 1, sizeof *clocked_steps);
    clocked_first_step = (int32_t *)calloc((size_t)calls + 1, sizeof *clocked_first_step);
    if (clocked_steps == NULL || clocked_first_step == NULL) {
        return TUNESMITH_E_MEMORY;
    }
    for (i = 0; i < step_count; i++) {
        clocked_steps[2 * i] = clock_step();
        clocked_steps[2 * i + 1] = program->steps[i];
        if (spans_wanted) {
            clocked_steps[2 * i + 1].run = run_with_span;
        }
    }
    clocked_steps[2 * step_count] = clock_step();
    for (i = 0; i < calls; i++) {
        clocked_first_step[i] = 2 * program->first_step[i];
    }
    clocked_first_step[calls] = 2 * step_count + 1;
    clocked = *program;
    clocked.steps = clocked_steps;
    clocked.first_step = clocked_first_step;
    return REAL_CREATE(&clocked, created, options);
}

int profile_open(int32_t threads, int32_t with_spans)
{
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    int error;
    options.threads = threads;
    spans_wanted = with_spans;
    error = MODEL()->create(&session, &options);
    if (error != TUNESMITH_OK) {
        profile_close();
    }
    return error;
}

void profile_close(void)
{
    MODEL()->destroy(session);
    free(clocked_steps);
    free(clocked_first_step);
    session = NULL;
    clocked_steps = NULL;
    clocked_first_step = NULL;
}

int32_t profile_step_count(void)
{
    return step_count;
}

int32_t profile_first_step(int32_t call)
{
    return shipped->first_step[call];
}

/* Of each run step_count + 3 readings: the start, before each step, after the last, the end. */
int profile_run(const void *const *inputs, void *const *outputs, int32_t runs, int64_t *stamps)
{
    int error = TUNESMITH_OK;
    int32_t run;
    stamp = stamps;
    for (run = 0; run < runs && error == TUNESMITH_OK; run++) {
        current_step = 0;
        *stamp++ = now_ns();
        error = MODEL()->session_run(session, inputs, outputs);
        *stamp++ = now_ns();
    }
    return error;
}

/* One run. counts: how many spans each worker had; those beyond `capacity` were dropped. */
int profile_trace(const void *const *inputs, void *const *outputs, profile_span *spans,
                  int32_t capacity, int32_t *counts)
{
    int64_t *stamps = (int64_t *)calloc((size_t)step_count + 3, sizeof *stamps);
    int error;
    if (stamps == NULL) {
        return TUNESMITH_E_MEMORY;
    }
    span_log = spans;
    span_counts = counts;
    span_capacity = capacity;
    error = profile_run(inputs, outputs, 1, stamps);
    free(stamps);
    return error;
}
