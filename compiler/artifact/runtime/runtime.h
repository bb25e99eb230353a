/* Inside a model's library: how the generated entry describes the program to the runtime.
 *
 * The runtime is compiled once per model with TUNESMITH_PREFIX set to the model's name, so that
 * every symbol carries it and several models can be linked into one program. */
#ifndef TUNESMITH_RUNTIME_H
#define TUNESMITH_RUNTIME_H

#include "tunesmith.h"

#define TS_JOIN_EXPANDED(prefix, name) prefix##__##name
#define TS_JOIN(prefix, name) TS_JOIN_EXPANDED(prefix, name)
#define TS_NAME(name) TS_JOIN(TUNESMITH_PREFIX, name)

#define ts_check TS_NAME(check)
#define ts_run TS_NAME(run)
#define ts_run_calls TS_NAME(run_calls)
#define ts_create TS_NAME(create)
#define ts_session_run TS_NAME(session_run)
#define ts_destroy TS_NAME(destroy)
#define ts_pool_create TS_NAME(pool_create)
#define ts_pool_run TS_NAME(pool_run)
#define ts_pool_destroy TS_NAME(pool_destroy)
#define ts_missing_cpu_feature TS_NAME(missing_cpu_feature)
#define ts_weights TS_NAME(weights)

/* Not visible outside the shared library, and reached without a GOT entry inside it. */
#if defined(__ELF__) || defined(__MACH__)
#define TS_HIDDEN __attribute__((visibility("hidden")))
#else
#define TS_HIDDEN
#endif

/* The pointers of one call of run. */
typedef struct ts_frame {
    const void *const *inputs;
    void *const *outputs;
    void *const *regions;
    unsigned char *more_scratch; /* blocks of the workers 1, 2, ...; NULL in a serial run */
    size_t more_scratch_stride;
} ts_frame;

/* Work items begin .. end - 1 of one phase of one kernel call. */
typedef void (*ts_phase)(const ts_frame *frame, int32_t worker, int32_t begin, int32_t end);

typedef struct ts_step {
    ts_phase run;
    int32_t extent;   /* number of work items */
    int32_t parallel; /* 0: too small to be worth waking a thread */
} ts_step;

typedef struct ts_program {
    const tunesmith_model *model;
    const ts_step *steps;
    const int32_t *first_step;            /* of each call, and the number of steps at the end */
    void (*finish)(const ts_frame *frame); /* outputs that are copies; NULL if there are none */
} ts_program;

typedef struct ts_session ts_session;

static inline unsigned char *ts_worker_scratch(const ts_frame *frame, unsigned char *first,
                                               int32_t worker)
{
    if (worker == 0) {
        return first;
    }
    return frame->more_scratch + (size_t)(worker - 1) * frame->more_scratch_stride;
}

TS_HIDDEN int ts_check(const tunesmith_model *model, const void *const *inputs,
                       void *const *outputs);
TS_HIDDEN int ts_run(const ts_program *program, const void *const *inputs, void *const *outputs,
                     void *const *regions);
TS_HIDDEN int ts_run_calls(const ts_program *program, const void *const *inputs,
                           void *const *outputs, void *const *regions, int32_t first,
                           int32_t last);
TS_HIDDEN int ts_create(const ts_program *program, ts_session **session,
                        const tunesmith_options *options);
TS_HIDDEN int ts_session_run(ts_session *session, const void *const *inputs, void *const *outputs);
TS_HIDDEN void ts_destroy(ts_session *session);
TS_HIDDEN const char *ts_missing_cpu_feature(void);
TS_HIDDEN extern const unsigned char ts_weights[];

#endif
