/* Threads that poll for work for a while and then sleep.
 *
 * A job is cut into parts, and every worker has a segment of them. `left` of a segment counts the
 * parts that nobody has begun: who lowers it from above 0 has that part. The job is written before
 * `left`, and read only by who has a part of it. A helper may come late, even to a later job than
 * the one it was woken for: what it takes is a part of the job that is there, which stays there
 * until that part is done.
 * `pending` counts the parts that are not done: it reaches 0 after all their writes.
 * `epoch` is raised for each job, so that helpers look.
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

typedef struct ts_segment {
    int32_t left; /* below 0 after some have looked in vain */
    char padding[TS_LINE_BYTES - sizeof(int32_t)];
} ts_segment;

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
    int stop;
    int32_t parts; /* the job */
    ts_pool_task task;
    void *context;
    int64_t spin_ns;
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* epoch has changed */
    pthread_cond_t done; /* pending is 0 */
    int32_t helper_count;
    int32_t segment_count; /* workers, also those that could not be started */
    ts_segment *segments;
    ts_helper helpers[1]; /* segment_count - 1 of them have room */
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

/* Returns when every part of the job is done. */
static void wait_for_parts(ts_pool *pool)
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

static void finish_parts(ts_pool *pool, uint32_t count)
{
    if (count != 0 && __atomic_sub_fetch(&pool->pending, count, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&pool->waiting, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static int32_t segment_begin(int32_t parts, int32_t segment, int32_t segment_count)
{
    return (int32_t)((int64_t)parts * segment / segment_count);
}

/* Returns the number of a part that nobody had begun, or -1 if the segment has none. */
static int32_t take_part(ts_pool *pool, int32_t segment)
{
    int32_t *left = &pool->segments[segment].left;
    int32_t mine;
    if (__atomic_load_n(left, __ATOMIC_RELAXED) <= 0) {
        return -1;
    }
    mine = __atomic_fetch_sub(left, 1, __ATOMIC_ACQ_REL);
    return mine <= 0 ? -1 : segment_begin(pool->parts, segment + 1, pool->segment_count) - mine;
}

/* Own parts first: the data of the kernel before are in this core's cache. */
static void work(ts_pool *pool, int32_t worker)
{
    uint32_t done = 0;
    int32_t i, part;
    for (i = 0; i < pool->segment_count; i++) {
        while ((part = take_part(pool, (worker + i) % pool->segment_count)) >= 0) {
            pool->task(pool->context, worker, part);
            done++;
        }
    }
    finish_parts(pool, done);
}

/* Let helpers look for work, and wake those that sleep. */
static void call_helpers(ts_pool *pool)
{
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
        seen = __atomic_load_n(&pool->epoch, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST)) {
            return NULL;
        }
        work(pool, self->index);
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

static ts_pool *allocate_pool(int32_t segment_count)
{
    size_t pool_bytes = sizeof(ts_pool) + (size_t)segment_count * sizeof(ts_helper);
    ts_pool *pool = (ts_pool *)calloc(1, pool_bytes);
    if (pool != NULL) {
        pool->segment_count = segment_count;
        pool->segments = (ts_segment *)calloc((size_t)segment_count, sizeof(ts_segment));
        if (pool->segments != NULL) {
            return pool;
        }
        free(pool);
    }
    return NULL;
}

static void free_pool(ts_pool *pool)
{
    free(pool->segments);
    free(pool);
}

ts_pool *ts_pool_create(int32_t helper_count, int32_t spin_us)
{
    ts_pool *pool = allocate_pool(helper_count + 1);
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
    free_pool(pool);
    return NULL;
}

void ts_pool_run(ts_pool *pool, int32_t parts, ts_pool_task task, void *context)
{
    int32_t i;
    pool->parts = parts;
    pool->task = task;
    pool->context = context;
    __atomic_store_n(&pool->pending, (uint32_t)parts, __ATOMIC_SEQ_CST);
    for (i = 0; i < pool->segment_count; i++) {
        int32_t begin = segment_begin(parts, i, pool->segment_count);
        int32_t end = segment_begin(parts, i + 1, pool->segment_count);
        __atomic_store_n(&pool->segments[i].left, end - begin, __ATOMIC_RELEASE);
    }
    call_helpers(pool);
    work(pool, 0);
    wait_for_parts(pool);
}

void ts_pool_destroy(ts_pool *pool)
{
    int32_t i;
    if (pool == NULL) {
        return;
    }
    __atomic_store_n(&pool->stop, 1, __ATOMIC_SEQ_CST);
    call_helpers(pool);
    for (i = 0; i < pool->helper_count; i++) {
        pthread_join(pool->helpers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free_pool(pool);
}
