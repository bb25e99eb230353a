/* The part of CUDA's driver interface that a session needs, reached at run time: the library
 * neither needs CUDA's headers to be built nor libcuda.so.1 to be loaded.
 * Numbers and types are those of cuda.h, which keeps them from version to version. */
#ifndef TUNESMITH_CUDA_DRIVER_H
#define TUNESMITH_CUDA_DRIVER_H

#include "runtime.h"

#define ts_cuda_open TS_NAME(cuda_open)

typedef int ts_cu_result; /* 0: success */
typedef int ts_cu_device;
typedef unsigned long long ts_cu_pointer;
typedef void *ts_cu_handle; /* context, module, function, stream, graph */

enum {
    TS_CU_OUT_OF_MEMORY = 2,
    TS_CU_CAPABILITY_MAJOR = 75, /* CUdevice_attribute */
    TS_CU_CAPABILITY_MINOR = 76,
    TS_CU_MEMORY_TYPE = 2, /* CUpointer_attribute */
    TS_CU_DEVICE_MEMORY = 2, /* CUmemorytype */
    TS_CU_STREAM_NON_BLOCKING = 1,
    TS_CU_CAPTURE_THREAD_LOCAL = 1
};

typedef struct ts_cuda {
    ts_cu_result (*init)(unsigned);
    ts_cu_result (*device_count)(int *);
    ts_cu_result (*device_get)(ts_cu_device *, int);
    ts_cu_result (*device_attribute)(int *, int, ts_cu_device);
    ts_cu_result (*context_retain)(ts_cu_handle *, ts_cu_device);
    ts_cu_result (*context_release)(ts_cu_device);
    ts_cu_result (*context_push)(ts_cu_handle);
    ts_cu_result (*context_pop)(ts_cu_handle *);
    ts_cu_result (*module_load)(ts_cu_handle *, const void *);
    ts_cu_result (*module_unload)(ts_cu_handle);
    ts_cu_result (*function_get)(ts_cu_handle *, ts_cu_handle, const char *);
    ts_cu_result (*memory_allocate)(ts_cu_pointer *, size_t);
    ts_cu_result (*memory_free)(ts_cu_pointer);
    ts_cu_result (*upload)(ts_cu_pointer, const void *, size_t);
    ts_cu_result (*upload_async)(ts_cu_pointer, const void *, size_t, ts_cu_handle);
    ts_cu_result (*download_async)(void *, ts_cu_pointer, size_t, ts_cu_handle);
    ts_cu_result (*copy_async)(ts_cu_pointer, ts_cu_pointer, size_t, ts_cu_handle);
    ts_cu_result (*pointer_attribute)(void *, int, ts_cu_pointer);
    ts_cu_result (*stream_create)(ts_cu_handle *, unsigned);
    ts_cu_result (*stream_destroy)(ts_cu_handle);
    ts_cu_result (*stream_wait)(ts_cu_handle);
    ts_cu_result (*capture_begin)(ts_cu_handle, int);
    ts_cu_result (*capture_end)(ts_cu_handle, ts_cu_handle *);
    ts_cu_result (*graph_instantiate)(ts_cu_handle *, ts_cu_handle, unsigned long long);
    ts_cu_result (*graph_launch)(ts_cu_handle, ts_cu_handle);
    ts_cu_result (*graph_exec_destroy)(ts_cu_handle);
    ts_cu_result (*graph_destroy)(ts_cu_handle);
    ts_cu_result (*launch)(ts_cu_handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                           unsigned, ts_cu_handle, void **, void **);
} ts_cuda;

/* Fill the table. Returns NULL, or what is missing, in words. The driver stays loaded: it does not
 * bear being unloaded. */
TS_HIDDEN const char *ts_cuda_open(ts_cuda *cuda);

#endif
