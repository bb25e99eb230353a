/* Threads that poll for work for a while and then sleep.
 *
 * `epoch` publishes a job: the job is written before epoch is raised, and read after it was seen.
 * `pending` counts the helpers that still work on it: it reaches 0 after all their writes.
 * The one that waits says so (`sleeping`, `waiting`) before it looks at epoch or pending for the
 * last time; the one that signals changes epoch or pending before it looks whether somebody
 * sleeps. All four are sequentially consistent, so at least one sees the other: no lost wake-up. */
#define _POSIX_C_SOURCE 200809L
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* Two x86 cache lines: the hardware prefetcher fetches them in pairs. */
#define TS_LINE_BYTES 128
#define TS_POLLS_PER_CLOCK 64

typedef struct ts_helper {
    ts_pool *pool;
    int32_t index; /* 1 .. helper_count */
    pthread_t thread;
} ts_helper;

struct ts_pool {
    uint32_t epoch;
    char epoch_padding[TS_LINE_BYTES - sizeof(uint32_t)];
    uint32_t pending;
    char pending_padding[TS_LINE_BYTES - sizeof(uint32_t)];
    int32_t sleeping; /* helpers that sleep or are about to */
    int32_t waiting;  /* 1: the caller sleeps or is about to */
    int stop;         /* part of the job */
    int32_t count;
    tunesmith_task task;
    void *context;
    int64_t spin_ns;
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* epoch has changed */
    pthread_cond_t done; /* pending is 0 */
    int32_t helper_count;
    ts_helper helpers[1]; /* helper_count of them */
};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Poll until (*word == value) is `wanted`. Returns 0 if spin_ns went by before that.
 *
 * After a quarter of the time it offers its core between polls: with more threads than cores, the
 * one that is waited for may have none. (Two cores, empty fork-join of 4 threads: 55 us instead of
 * 210. Offering it at once keeps two threads on one core: 7 us instead of 0.2 for 2 threads.) */
static int poll_word(const uint32_t *word, uint32_t value, int wanted, int64_t spin_ns)
{
    int64_t end = 0;
    uint32_t polls = 0;
    for (;;) {
        if ((__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) == wanted) {
            return 1;
        }
        if (spin_ns <= 0) {
            return 0;
        }
        if (polls++ % TS_POLLS_PER_CLOCK == 0) {
            int64_t now = now_ns();
            if (end == 0) {
                end = now + spin_ns;
            } else if (now >= end) {
                return 0;
            } else if (now >= end - spin_ns / 4 * 3) {
                sched_yield();
            }
        }
        pause_briefly();
    }
}

/* Returns when a job after `seen` is there. */
static void wait_for_job(ts_pool *pool, uint32_t seen)
{
    if (poll_word(&pool->epoch, seen, 0, pool->spin_ns)) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    __atomic_add_fetch(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pool->epoch, __ATOMIC_SEQ_CST) == seen) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    __atomic_sub_fetch(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->mutex);
}

/* Returns when every helper has finished the job. */
static void wait_for_helpers(ts_pool *pool)
{
    if (poll_word(&pool->pending, 0, 1, pool->spin_ns)) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    __atomic_store_n(&pool->waiting, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pool->pending, __ATOMIC_SEQ_CST) != 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    __atomic_store_n(&pool->waiting, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->mutex);
}

static void finish_job(ts_pool *pool)
{
    if (__atomic_sub_fetch(&pool->pending, 1, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&pool->waiting, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void publish_job(ts_pool *pool)
{
    __atomic_store_n(&pool->pending, (uint32_t)pool->helper_count, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&pool->epoch, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool->sleeping, __ATOMIC_SEQ_CST) != 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *help(void *argument)
{
    ts_helper *self = (ts_helper *)argument;
    ts_pool *pool = self->pool;
    uint32_t seen = 0;
    for (;;) {
        wait_for_job(pool, seen);
        seen++; /* the caller waits for every helper before it publishes the next one */
        if (pool->stop) {
            return NULL;
        }
        if (self->index < pool->count) {
            pool->task(pool->context, self->index);
        }
        finish_job(pool);
    }
}

/* Start helpers with all signals blocked: signals belong to the application's threads. */
static int start_helpers(ts_pool *pool, int32_t helper_count)
{
    sigset_t all, before;
    int32_t i;
    int failed = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (i = 0; i < helper_count && !failed; i++) {
        ts_helper *helper = &pool->helpers[i];
        helper->pool = pool;
        helper->index = i + 1;
        failed = pthread_create(&helper->thread, NULL, help, helper) != 0;
        pool->helper_count += !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

ts_pool *ts_pool_create(int32_t helper_count, int32_t spin_us)
{
    size_t bytes = sizeof(ts_pool) + (size_t)helper_count * sizeof(ts_helper);
    ts_pool *pool = (ts_pool *)calloc(1, bytes);
    if (pool == NULL) {
        return NULL;
    }
    pool->spin_ns = (int64_t)spin_us * 1000;
    if (pthread_mutex_init(&pool->mutex, NULL) == 0) {
        if (pthread_cond_init(&pool->wake, NULL) == 0) {
            if (pthread_cond_init(&pool->done, NULL) == 0) {
                if (start_helpers(pool, helper_count)) {
                    return pool;
                }
                ts_pool_destroy(pool);
                return NULL;
            }
            pthread_cond_destroy(&pool->wake);
        }
        pthread_mutex_destroy(&pool->mutex);
    }
    free(pool);
    return NULL;
}

void ts_pool_run(ts_pool *pool, int32_t count, tunesmith_task task, void *context)
{
    pool->count = count;
    pool->task = task;
    pool->context = context;
    publish_job(pool);
    task(context, 0);
    wait_for_helpers(pool);
}

void ts_pool_destroy(ts_pool *pool)
{
    int32_t i;
    if (pool == NULL) {
        return;
    }
    pool->stop = 1;
    publish_job(pool);
    for (i = 0; i < pool->helper_count; i++) {
        pthread_join(pool->helpers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
