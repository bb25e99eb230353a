/* A fork-join thread pool that belongs to one session. */
#ifndef TUNESMITH_POOL_H
#define TUNESMITH_POOL_H

#include "runtime.h"

typedef struct ts_pool ts_pool;

/* Start helper_count threads. Returns NULL if memory or a thread cannot be had. */
TS_HIDDEN ts_pool *ts_pool_create(int32_t helper_count, int32_t spin_us);

/* One part of a job, on the worker of that number: 0 is the caller, helpers are 1, 2, ... */
typedef void (*ts_pool_task)(void *context, int32_t worker, int32_t part);

/* Call task for the parts 0 .. parts - 1 on this thread and the helpers. Each has parts of its own
 * and then takes what others have not begun: a helper that the system does not run is not waited
 * for. Returns when all parts are done. One caller at a time. */
TS_HIDDEN void ts_pool_run(ts_pool *pool, int32_t parts, ts_pool_task task, void *context);

TS_HIDDEN void ts_pool_destroy(ts_pool *pool);

#endif
