/* How the generated entry of a GPU model describes its program to the runtime. */
#ifndef TUNESMITH_CUDA_SESSION_H
#define TUNESMITH_CUDA_SESSION_H

#include "runtime.h"

#define ts_gpu_create TS_NAME(gpu_create)
#define ts_gpu_session_run TS_NAME(gpu_session_run)
#define ts_gpu_destroy TS_NAME(gpu_destroy)
#define ts_gpu_missing TS_NAME(gpu_missing)
#define ts_device_image TS_NAME(device_image)

/* Device memory that an argument lies in. */
typedef enum ts_place { TS_WEIGHTS, TS_ARENA, TS_INPUT, TS_OUTPUT } ts_place;

typedef struct ts_argument {
    ts_place place;
    int64_t offset; /* bytes; of an input or output its number */
} ts_argument;

typedef struct ts_launch {
    int32_t function; /* index in ts_gpu_program.functions */
    uint32_t grid[3];
    uint32_t block[3];
    int32_t first_argument; /* index in ts_gpu_program.arguments */
    int32_t argument_count;
} ts_launch;

typedef struct ts_device_copy {
    ts_argument source;
    ts_argument destination;
    int64_t size_bytes;
} ts_device_copy;

typedef struct ts_gpu_program {
    const tunesmith_model *model;
    const char *const *functions; /* names in the device image */
    const ts_launch *launches;
    const ts_argument *arguments;
    const ts_device_copy *copies; /* after the launches: outputs that are copies */
    const char *needed;           /* the GPU, in words, for one that is too old */
    size_t arena_bytes;
    int32_t function_count;
    int32_t launch_count;
    int32_t most_arguments;
    int32_t copy_count;
    int32_t capability; /* 10 * major + minor of the oldest GPU that the image is for */
} ts_gpu_program;

typedef struct ts_gpu_session ts_gpu_session;

TS_HIDDEN extern const unsigned char ts_device_image[];
TS_HIDDEN int ts_gpu_create(const ts_gpu_program *program, ts_gpu_session **session,
                            const tunesmith_options *options);
TS_HIDDEN int ts_gpu_session_run(ts_gpu_session *session, const void *const *inputs,
                                 void *const *outputs);
TS_HIDDEN void ts_gpu_destroy(ts_gpu_session *session);
/* What this machine lacks to run the model on its first GPU, in words; NULL if nothing. */
TS_HIDDEN const char *ts_gpu_missing(const ts_gpu_program *program);

#endif
