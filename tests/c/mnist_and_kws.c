/* mnist_and_kws IMAGE SOUND LOGITS WORDS: two models in one program. Four threads run both, two of
 * them with sessions that have threads of their own, two serially, at the same time. Every result
 * must be that of a serial run made before; both are written out. */
#include "kws_espeak_dscnn_qdq8.h"
#include "mnist_dscnn_f32.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 10
#define THREADS 4
#define MOST 16 /* numbers that an output may have */

typedef struct {
    const tunesmith_model *model;
    float *input;
    float expected[MOST];
} job;

static job jobs[2];

typedef struct {
    pthread_t thread;
    int number;
    int wrong;
} worker;

static int transfer(const char *path, const char *mode, float *values, size_t size_bytes)
{
    FILE *file = fopen(path, mode);
    size_t done = 0;
    if (file != NULL) {
        done = mode[0] == 'r' ? fread(values, 1, size_bytes, file)
                              : fwrite(values, 1, size_bytes, file);
        fclose(file);
    }
    return done == size_bytes;
}

static int run_serially(const job *job, float *output)
{
    const tunesmith_region *region = &job->model->regions[0];
    char *block = malloc(region->size_bytes + region->alignment);
    const void *inputs[1];
    void *outputs[1], *regions[1];
    int error;
    inputs[0] = job->input;
    outputs[0] = output;
    regions[0] = block + (region->alignment - (size_t)block % region->alignment);
    error = job->model->run(inputs, outputs, regions);
    free(block);
    return error;
}

static int differs(const job *job, const float *output)
{
    return memcmp(output, job->expected, job->model->outputs[0].size_bytes) != 0;
}

static int sessions_differ(const tunesmith_options *options)
{
    tunesmith_session *sessions[2] = {NULL, NULL};
    float output[MOST];
    const void *inputs[1];
    void *outputs[1];
    int round, i, wrong = 0;
    outputs[0] = output;
    for (i = 0; i < 2; i++) {
        wrong |= jobs[i].model->create(&sessions[i], options) != TUNESMITH_OK;
    }
    for (round = 0; round < 2 * ROUNDS && !wrong; round++) {
        i = round % 2;
        inputs[0] = jobs[i].input;
        wrong |= jobs[i].model->session_run(sessions[i], inputs, outputs) != TUNESMITH_OK;
        wrong |= differs(&jobs[i], output);
    }
    for (i = 0; i < 2; i++) {
        jobs[i].model->destroy(sessions[i]);
    }
    return wrong;
}

static void *work(void *argument)
{
    worker *self = argument;
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    float output[MOST];
    int round;
    if (self->number % 2 == 0) {
        options.threads = 2 + self->number / 2;
        self->wrong = sessions_differ(&options);
        return NULL;
    }
    for (round = 0; round < 2 * ROUNDS && !self->wrong; round++) {
        self->wrong |= run_serially(&jobs[round % 2], output) != TUNESMITH_OK;
        self->wrong |= differs(&jobs[round % 2], output);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static worker workers[THREADS];
    int i, wrong = argc != 5;
    jobs[0].model = mnist_dscnn_f32_model();
    jobs[1].model = kws_espeak_dscnn_qdq8_model();
    for (i = 0; i < 2 && !wrong; i++) {
        size_t size_bytes = jobs[i].model->inputs[0].size_bytes;
        jobs[i].input = malloc(size_bytes);
        wrong |= jobs[i].model->outputs[0].size_bytes > sizeof jobs[i].expected;
        wrong |= !transfer(argv[1 + i], "rb", jobs[i].input, size_bytes);
        wrong |= run_serially(&jobs[i], jobs[i].expected) != TUNESMITH_OK;
    }
    for (i = 0; i < THREADS && !wrong; i++) {
        workers[i].number = i;
        wrong |= pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (i = 0; i < THREADS && workers[i].thread; i++) {
        pthread_join(workers[i].thread, NULL);
        wrong |= workers[i].wrong;
    }
    for (i = 0; i < 2; i++) {
        size_t size_bytes = jobs[i].model->outputs[0].size_bytes;
        wrong |= !transfer(argv[3 + i], "wb", jobs[i].expected, size_bytes);
        free(jobs[i].input);
    }
    return wrong;
}
