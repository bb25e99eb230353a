/* A model as functions that TVM's RPC server can call, each with integers and tensors of bytes.
 * They return 0 or an error code of tunesmith.h. Linked with the model's static library. */
#define _DEFAULT_SOURCE /* clock_gettime, uname */
#include "board_guard.h"
#include "board_words.h"
#include "tunesmith.h"
#include "tvm_ffi_abi.h"

#include <stdio.h>
#include <time.h>

#define MOST_TENSORS 256

extern const tunesmith_model *MODEL(void); /* defined on the command line */
#ifdef WEIGHTS
extern const unsigned char WEIGHTS[];
#define WEIGHTS_ADDRESS ((int64_t)(intptr_t)WEIGHTS)
#else
#define WEIGHTS_ADDRESS 0
#endif

static tunesmith_session *session;

/* start(threads, text, bytes): a session. The text becomes the CPU feature that is missing. */
FFI_FUNCTION(start)
{
    const tunesmith_model *model = MODEL();
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    (void)self;
    (void)count;
    if (!model->cpu_supported()) {
        const char *missing = model->missing_cpu_feature();
        snprintf((char *)ffi_data(&arguments[1]), (size_t)arguments[2].value.integer, "%s",
                 missing == NULL ? "" : missing);
        return ffi_return(result, TUNESMITH_E_CPU);
    }
    options.threads = (int32_t)arguments[0].value.integer;
    return ffi_return(result, model->create(&session, &options));
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* run(timeout_s, runs, times, inputs..., outputs...): times are int64 nanoseconds, one a run. */
FFI_FUNCTION(run)
{
    const tunesmith_model *model = MODEL();
    const void *in[MOST_TENSORS];
    void *out[MOST_TENSORS];
    int64_t run, taken, runs = arguments[1].value.integer;
    unsigned char *times = ffi_data(&arguments[2]);
    int32_t i;
    int error = TUNESMITH_OK;
    (void)self;
    if (model->input_count > MOST_TENSORS || model->output_count > MOST_TENSORS ||
        count != 3 + model->input_count + model->output_count) {
        return ffi_return(result, TUNESMITH_E_ABI);
    }
    for (i = 0; i < model->input_count; i++) {
        in[i] = ffi_data(&arguments[3 + i]);
    }
    for (i = 0; i < model->output_count; i++) {
        out[i] = ffi_data(&arguments[3 + model->input_count + i]);
    }
    for (run = 0; run < runs && error == TUNESMITH_OK; run++) {
        guard_for(arguments[0].value.integer);
        taken = now_ns();
        error = model->session_run(session, in, out);
        taken = now_ns() - taken;
        memcpy(times + run * 8, &taken, 8);
    }
    guard_for(0);
    return ffi_return(result, error);
}

/* explain(error, text, bytes): what an error code says. */
FFI_FUNCTION(explain)
{
    (void)self;
    (void)count;
    snprintf((char *)ffi_data(&arguments[1]), (size_t)arguments[2].value.integer, "%s",
             MODEL()->error_string((int)arguments[0].value.integer));
    return ffi_return(result, TUNESMITH_OK);
}

/* weights(): their address, for the kernels that are called alone. */
FFI_FUNCTION(weights)
{
    (void)self;
    (void)arguments;
    (void)count;
    return ffi_return(result, WEIGHTS_ADDRESS);
}
