/* How fast this machine multiplies and adds, and how fast it reaches its memory.
 *
 * usage: peaks THREADS BUFFER_BYTES
 * prints two numbers: 10^9 float operations and 10^9 bytes in a second, all threads together.
 *
 * VECTOR_BYTES and ACCUMULATORS are set by the compiler's command line. Each trial is short and
 * the best one counts: what disturbs a trial only makes it slower. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIALS 30
#define TRIAL_S 0.01
#define FMA_ROUNDS 20000
#define CHUNK_BYTES ((size_t)1 << 20)
#define VECTORS (CHUNK_BYTES / VECTOR_BYTES)
#define LANES (VECTOR_BYTES / sizeof(float))

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

/* Named one by one: the elements of an array might not stay in registers. */
#define FIRST_12(each) each(0) each(1) each(2) each(3) each(4) each(5) \
    each(6) each(7) each(8) each(9) each(10) each(11)
#define NEXT_12(each) each(12) each(13) each(14) each(15) each(16) each(17) \
    each(18) each(19) each(20) each(21) each(22) each(23)
#if ACCUMULATORS == 24
#define ALL(each) FIRST_12(each) NEXT_12(each)
#else
#define ALL(each) FIRST_12(each)
#endif
#define DECLARE(i) vector sum##i = zero + (float)i;
#define MULTIPLY_ADD(i) sum##i = sum##i * factor + term;
#define ADD_UP(i) total += sum##i;

typedef struct worker {
    pthread_t thread;
    vector *buffer;
    size_t chunks;
    size_t next;
    vector sink;           /* keeps results from being optimised away */
    double rate[3][TRIALS]; /* of each kind of work: 10^9 in a second */
} worker;

static pthread_barrier_t start_line;
static volatile float factor_source = 0.5f;
static volatile float term_source = 0.5f;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Chains that do not wait for each other: more than latency times units on any core so far. */
static double multiply_add(worker *self)
{
    const vector zero = {0};
    const vector factor = zero + factor_source;
    const vector term = zero + term_source;
    vector total = {0};
    int i;
    ALL(DECLARE)
    for (i = 0; i < FMA_ROUNDS; i++) {
        ALL(MULTIPLY_ADD)
    }
    ALL(ADD_UP)
    self->sink += total;
    return 2.0 * FMA_ROUNDS * ACCUMULATORS * LANES;
}

static vector *next_chunk(worker *self)
{
    vector *chunk = self->buffer + self->next * VECTORS;
    self->next = (self->next + 1) % self->chunks;
    return chunk;
}

static double read_only(worker *self)
{
    const vector *chunk = next_chunk(self);
    vector a = {0}, b = {0}, c = {0}, d = {0};
    size_t i;
    for (i = 0; i < VECTORS; i += 4) {
        a += chunk[i];
        b += chunk[i + 1];
        c += chunk[i + 2];
        d += chunk[i + 3];
    }
    self->sink += a + b + c + d;
    return (double)CHUNK_BYTES;
}

static double read_and_write(worker *self)
{
    vector *chunk = next_chunk(self);
    const vector zero = {0};
    const vector term = zero + term_source;
    size_t i;
    for (i = 0; i < VECTORS; i += 4) {
        chunk[i] += term;
        chunk[i + 1] += term;
        chunk[i + 2] += term;
        chunk[i + 3] += term;
    }
    return 2.0 * CHUNK_BYTES;
}

static double (*const kinds[3])(worker *) = {multiply_add, read_only, read_and_write};

static void *run_all(void *context)
{
    worker *self = (worker *)context;
    int kind, trial;
    /* First touched by the thread that uses it: near it, where memory is near one processor. */
    memset(self->buffer, 0, self->chunks * CHUNK_BYTES);
    for (kind = 0; kind < 3; kind++) {
        for (trial = 0; trial < TRIALS; trial++) {
            double start, now, done = 0.0;
            pthread_barrier_wait(&start_line);
            start = now_s();
            do {
                done += kinds[kind](self);
                now = now_s();
            } while (now - start < TRIAL_S);
            self->rate[kind][trial] = 1e-9 * done / (now - start);
        }
    }
    return NULL;
}

static double best(const worker *workers, int threads, int kind)
{
    double most = 0.0;
    int trial, i;
    for (trial = 0; trial < TRIALS; trial++) {
        double sum = 0.0;
        for (i = 0; i < threads; i++) {
            sum += workers[i].rate[kind][trial];
        }
        most = sum > most ? sum : most;
    }
    return most;
}

int main(int argc, char **argv)
{
    int threads = argc == 3 ? atoi(argv[1]) : 0;
    size_t bytes = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    void *memory;
    worker *workers;
    double reading, both;
    int i;
    if (threads < 1) {
        fprintf(stderr, "usage: peaks THREADS BUFFER_BYTES\n");
        return 2;
    }
    if (posix_memalign(&memory, 4096, (size_t)threads * sizeof(worker)) != 0) {
        fprintf(stderr, "memory could not be had\n");
        return 1;
    }
    workers = (worker *)memory;
    memset(workers, 0, (size_t)threads * sizeof(worker));
    pthread_barrier_init(&start_line, NULL, (unsigned)threads);
    for (i = 0; i < threads; i++) {
        workers[i].chunks = 1 + bytes / (size_t)threads / CHUNK_BYTES;
        if (posix_memalign(&memory, 4096, workers[i].chunks * CHUNK_BYTES) != 0) {
            fprintf(stderr, "%zu bytes of memory could not be had\n", bytes);
            return 1;
        }
        workers[i].buffer = (vector *)memory;
    }
    for (i = 1; i < threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, run_all, &workers[i]) != 0) {
            fprintf(stderr, "%d threads could not be started\n", threads);
            return 1;
        }
    }
    run_all(&workers[0]);
    for (i = 1; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    reading = best(workers, threads, 1);
    both = best(workers, threads, 2);
    printf("%.6g %.6g\n", best(workers, threads, 0), reading > both ? reading : both);
    return 0;
}
