/* The rules for pointers, options and sessions, one CHECK each. */
#include "kws.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT (64 * 64)
#define CHECK(condition)                                        \
    do {                                                        \
        if (!(condition)) {                                     \
            printf("line %d: %s\n", __LINE__, #condition);      \
            return 1;                                           \
        }                                                       \
    } while (0)

static float x[COUNT], y[COUNT], copy[COUNT], expected[COUNT];
static kws_inputs in;
static kws_outputs out;

static int check_run(char *arena)
{
    kws_memory memory;
    float *block = malloc((3 * COUNT + 3) * sizeof(float));
    kws_inputs odd_in;
    kws_outputs odd_out;
    memory.region[0] = arena;
    CHECK(kws_run(NULL, &out, &memory) == TUNESMITH_E_NULL);
    CHECK(kws_run(&in, NULL, &memory) == TUNESMITH_E_NULL);
    CHECK(kws_run(&in, &out, NULL) == TUNESMITH_E_NULL);
    memory.region[0] = NULL;
    CHECK(kws_run(&in, &out, &memory) == TUNESMITH_E_NULL);
    memory.region[0] = arena + KWS_ARENA_ALIGN / 2;
    CHECK(kws_run(&in, &out, &memory) == TUNESMITH_E_ALIGN);
    memory.region[0] = arena;
    CHECK(kws_run(&in, &out, &memory) == TUNESMITH_OK);
    memcpy(expected, y, sizeof y);

    /* Tensors at odd elements are fine, between elements they are not. */
    odd_in.in_put = block + 1;
    odd_out.y = block + 1 + COUNT;
    odd_out.Y_copy = block + 2 + 2 * COUNT;
    memcpy(block + 1, x, sizeof x);
    CHECK(kws_run(&odd_in, &odd_out, &memory) == TUNESMITH_OK);
    CHECK(memcmp(odd_out.y, expected, sizeof expected) == 0);
    CHECK(memcmp(odd_out.Y_copy, x, sizeof x) == 0);
    CHECK(memcmp(block + 1, x, sizeof x) == 0);
    odd_in.in_put = (const float *)((const char *)block + 2);
    CHECK(kws_run(&odd_in, &odd_out, &memory) == TUNESMITH_E_ALIGN);
    odd_in.in_put = block + 1;
    odd_out.y = (float *)((char *)block + 4 * COUNT + 5);
    CHECK(kws_run(&odd_in, &odd_out, &memory) == TUNESMITH_E_ALIGN);
    odd_out.y = NULL;
    CHECK(kws_run(&odd_in, &odd_out, &memory) == TUNESMITH_E_NULL);
    free(block);
    return 0;
}

static int check_descriptor(char *arena)
{
    const tunesmith_model *model = kws_model();
    const void *inputs[1];
    void *outputs[2], *regions[1];
    inputs[0] = x;
    outputs[0] = y;
    outputs[1] = copy;
    regions[0] = arena;
    CHECK(model->struct_size == sizeof *model && model->abi_version == KWS_ABI_VERSION);
    CHECK(strcmp(model->name, "kws") == 0 && strcmp(model->target, "host") == 0);
    CHECK(strlen(model->fingerprint) == 64);
    CHECK(model->input_count == 1 && model->output_count == 2 && model->region_count == 1);
    CHECK(strcmp(model->inputs[0].name, "in:put") == 0);
    CHECK(model->inputs[0].dtype == TUNESMITH_FLOAT32 && model->inputs[0].rank == 2);
    CHECK(model->inputs[0].shape[0] == 64 && model->inputs[0].size_bytes == sizeof x);
    CHECK(!model->inputs[0].quantized && model->outputs[0].quantized);
    CHECK(model->outputs[0].scale == 0.25 && model->outputs[0].zero_point == -3);
    CHECK(strcmp(model->regions[0].name, "arena") == 0);
    CHECK(model->regions[0].size_bytes == KWS_ARENA_BYTES);
    CHECK(model->cpu_supported() == 1 && model->missing_cpu_feature() == NULL);
    CHECK(strcmp(model->error_string(TUNESMITH_E_BUSY), tunesmith_error_string(6)) == 0);

    /* A run call by call. */
    CHECK(model->call_count == 3);
    memset(y, 0, sizeof y);
    CHECK(model->run_calls(inputs, outputs, regions, 0, 2) == TUNESMITH_OK);
    CHECK(y[5] == 0.0f);
    CHECK(model->run_calls(inputs, outputs, regions, 2, 3) == TUNESMITH_OK);
    CHECK(memcmp(y, expected, sizeof y) == 0);
    CHECK(model->run_calls(inputs, outputs, regions, 2, 4) == TUNESMITH_E_ABI);
    CHECK(model->run_calls(inputs, outputs, regions, -1, 1) == TUNESMITH_E_ABI);
    CHECK(model->run(inputs, outputs, NULL) == TUNESMITH_E_NULL);
    return 0;
}

static int check_options(void)
{
    kws_session *session = (kws_session *)&x;
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    CHECK(kws_create(NULL, &options) == TUNESMITH_E_NULL);
    options.struct_size = 4;
    CHECK(kws_create(&session, &options) == TUNESMITH_E_ABI && session == NULL);
    options.struct_size = 16; /* an older struct: up to spin_us */
    options.device = 7;       /* behind its end */
    CHECK(kws_create(&session, &options) == TUNESMITH_OK);
    kws_destroy(session);
    options.struct_size = sizeof options + 64; /* a newer one */
    CHECK(kws_create(&session, &options) == TUNESMITH_E_DEVICE);
    options.device = 0;
    options.threads = -5;
    CHECK(kws_create(&session, &options) == TUNESMITH_OK);
    CHECK(kws_session_run(session, NULL, &out) == TUNESMITH_E_NULL);
    CHECK(kws_session_run(NULL, &in, &out) == TUNESMITH_E_NULL);
    CHECK(kws_session_run(session, &in, &out) == TUNESMITH_OK);
    kws_destroy(session);
    kws_destroy(NULL);
    return 0;
}

/* An application's own threads: here, backwards on the calling one. */
typedef struct {
    int calls;
    int most_tasks;
    kws_session *session;
    int nested_error;
} own_pool;

static void backwards(void *context, int32_t count, tunesmith_task task, void *task_context)
{
    own_pool *pool = context;
    int32_t i;
    pool->calls++;
    pool->most_tasks = count > pool->most_tasks ? count : pool->most_tasks;
    pool->nested_error = kws_session_run(pool->session, &in, &out);
    for (i = count - 1; i >= 0; i--) {
        task(task_context, i);
    }
}

static int check_parallel_for(void)
{
    own_pool pool = {0, 0, NULL, 0};
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    options.threads = 5;
    options.parallel_for = backwards;
    options.parallel_context = &pool;
    CHECK(kws_create(&pool.session, &options) == TUNESMITH_OK);
    memset(y, 0, sizeof y);
    CHECK(kws_session_run(pool.session, &in, &out) == TUNESMITH_OK);
    CHECK(memcmp(y, expected, sizeof y) == 0);
    CHECK(pool.calls == 4 && pool.most_tasks == 5); /* phases of more than one work item */
    CHECK(pool.nested_error == TUNESMITH_E_BUSY);
    kws_destroy(pool.session);
    return 0;
}

static int check_threads(void)
{
    static const int32_t thread_counts[] = {1, 2, 3, 64, 100, 2000};
    kws_session *session;
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    size_t i;
    for (i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++) {
        options.threads = thread_counts[i];
        options.spin_us = thread_counts[i] > 3 ? -1 : 0;
        CHECK(kws_create(&session, &options) == TUNESMITH_OK);
        memset(y, 0, sizeof y);
        CHECK(kws_session_run(session, &in, &out) == TUNESMITH_OK);
        CHECK(memcmp(y, expected, sizeof y) == 0);
        kws_destroy(session);
    }
    return 0;
}

int main(void)
{
    char *block = malloc(KWS_ARENA_BYTES + 2 * KWS_ARENA_ALIGN);
    char *arena = block + (KWS_ARENA_ALIGN - (size_t)block % KWS_ARENA_ALIGN);
    int i, failed;
    for (i = 0; i < COUNT; i++) {
        x[i] = (float)(i % 17) / 16.0f;
    }
    in.in_put = x;
    out.y = y;
    out.Y_copy = copy;
    failed = check_run(arena) || check_descriptor(arena) || check_options() ||
             check_parallel_for() || check_threads();
    free(block);
    return failed;
}
