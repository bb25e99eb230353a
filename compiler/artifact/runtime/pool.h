/* A fork-join thread pool that belongs to one session. */
#ifndef TUNESMITH_POOL_H
#define TUNESMITH_POOL_H

#include "runtime.h"

typedef struct ts_pool ts_pool;

/* Start helper_count threads. Returns NULL if memory or a thread cannot be had. */
TS_HIDDEN ts_pool *ts_pool_create(int32_t helper_count, int32_t spin_us);

/* Call task(context, 0 .. count - 1) side by side: 0 on this thread, the others each on a helper;
 * count is at most helper_count + 1. Returns when all have returned. One caller at a time. */
TS_HIDDEN void ts_pool_run(ts_pool *pool, int32_t count, tunesmith_task task, void *context);

TS_HIDDEN void ts_pool_destroy(ts_pool *pool);

#endif
