/* pool_stress THREADS SPIN_US ROUNDS: every part of every fork-join runs once, and its writes are
 * seen by the caller. Prints the median time of an empty fork-join in microseconds. */
#define _POSIX_C_SOURCE 200809L
#include "runtime/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST_PARTS 256

static long runs[MOST_PARTS][16]; /* not atomic on purpose: the pool must order the accesses */
static long by_worker[MOST_PARTS][16];

static void count_run(void *context, int32_t worker, int32_t part)
{
    runs[part][0] += *(const int *)context;
    by_worker[worker][0]++;
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    int spin_us = argc > 2 ? atoi(argv[2]) : 100;
    int rounds = argc > 3 ? atoi(argv[3]) : 1000;
    struct timespec gap = {0, 300000};
    double *times = malloc((size_t)rounds * sizeof *times);
    ts_pool *pool = ts_pool_create(threads - 1, spin_us);
    long expected[MOST_PARTS] = {0}, ran = 0, wanted = 0;
    int round, i, step, wrong = 0;
    if (pool == NULL) {
        return 2;
    }
    for (round = 0; round < rounds && !wrong; round++) {
        int count = round % 5 == 4 ? 1 + round % (4 * threads) : threads;
        if (round % 50 == 49) {
            nanosleep(&gap, NULL); /* helpers go to sleep */
        }
        step = round;
        times[round] = now_us();
        ts_pool_run(pool, count, count_run, &step);
        times[round] = now_us() - times[round];
        wanted += count;
        for (i = 0; i < 4 * threads; i++) {
            expected[i] += i < count ? step : 0;
            wrong |= runs[i][0] != expected[i];
        }
    }
    ts_pool_destroy(pool);
    for (i = 0; i < threads; i++) {
        ran += by_worker[i][0];
    }
    wrong |= ran != wanted;
    qsort(times, (size_t)rounds, sizeof *times, ascending);
    printf("%.2f\n", times[rounds / 2]);
    free(times);
    return wrong;
}
