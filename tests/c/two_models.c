/* Two models linked into one program; four threads run both, each way, at the same time. Every
 * result is compared with a serial run made before. */
#include "beta.h"
#include "kws.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT (64 * 64)
#define ROUNDS 30
#define THREADS 4

static float x[COUNT], kws_expected[COUNT], beta_expected[COUNT];

typedef struct {
    pthread_t thread;
    int number;
    int wrong;
} worker;

static void *aligned(char *block, size_t alignment)
{
    return block + (alignment - (size_t)block % alignment);
}

static int run_kws(float *y, float *copy)
{
    char *block = malloc(KWS_ARENA_BYTES + KWS_ARENA_ALIGN);
    kws_inputs in;
    kws_outputs out;
    kws_memory memory;
    int error;
    in.in_put = x;
    out.y = y;
    out.Y_copy = copy;
    memory.region[0] = aligned(block, KWS_ARENA_ALIGN);
    error = kws_run(&in, &out, &memory);
    free(block);
    return error;
}

static int run_beta(float *y, float *copy)
{
    char *block = malloc(BETA_ARENA_BYTES + BETA_ARENA_ALIGN);
    beta_inputs in;
    beta_outputs out;
    beta_memory memory;
    int error;
    in.in_put = x;
    out.y = y;
    out.Y_copy = copy;
    memory.region[0] = aligned(block, BETA_ARENA_ALIGN);
    error = beta_run(&in, &out, &memory);
    free(block);
    return error;
}

static int sessions_agree(const tunesmith_options *options, float *y, float *copy)
{
    const void *inputs[1];
    void *outputs[2];
    kws_session *kws = NULL;
    tunesmith_session *beta = NULL;
    kws_inputs in;
    kws_outputs out;
    int round, wrong = 0;
    inputs[0] = x;
    outputs[0] = y;
    outputs[1] = copy;
    in.in_put = x;
    out.y = y;
    out.Y_copy = copy;
    if (kws_create(&kws, options) != 0 || beta_model()->create(&beta, options) != 0) {
        wrong = 1;
    }
    for (round = 0; round < ROUNDS && !wrong; round++) {
        wrong |= kws_session_run(kws, &in, &out) != 0;
        wrong |= memcmp(y, kws_expected, sizeof kws_expected) != 0;
        wrong |= beta_model()->session_run(beta, inputs, outputs) != 0;
        wrong |= memcmp(y, beta_expected, sizeof beta_expected) != 0;
    }
    kws_destroy(kws);
    beta_model()->destroy(beta);
    return !wrong;
}

static void *work(void *argument)
{
    worker *self = argument;
    float *y = malloc(sizeof x), *copy = malloc(sizeof x);
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    int round;
    if (self->number % 2 == 0) {
        options.threads = 2 + self->number / 2;
        options.spin_us = self->number == 0 ? 20 : -1;
        self->wrong = !sessions_agree(&options, y, copy);
    } else {
        for (round = 0; round < ROUNDS && !self->wrong; round++) {
            self->wrong |= run_kws(y, copy) != 0 || memcmp(y, kws_expected, sizeof x) != 0;
            self->wrong |= run_beta(y, copy) != 0 || memcmp(y, beta_expected, sizeof x) != 0;
        }
    }
    free(y);
    free(copy);
    return NULL;
}

int main(void)
{
    static worker workers[THREADS];
    static float copy[COUNT];
    int i, wrong = 0;
    for (i = 0; i < COUNT; i++) {
        x[i] = (float)(i % 17) / 16.0f;
    }
    if (run_kws(kws_expected, copy) != 0 || run_beta(beta_expected, copy) != 0) {
        return 2;
    }
    if (memcmp(kws_expected, beta_expected, sizeof x) == 0) {
        return 3; /* different weights must give different numbers */
    }
    for (i = 0; i < THREADS; i++) {
        workers[i].number = i;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        wrong |= workers[i].wrong;
    }
    puts(wrong ? "wrong" : "right");
    return wrong;
}
