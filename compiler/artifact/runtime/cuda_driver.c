/* Finds the functions of libcuda.so.1. */
#define _POSIX_C_SOURCE 200809L
#include "cuda_driver.h"

#include <dlfcn.h>
#include <string.h>

#define TS_DRIVER "libcuda.so.1"

/* In the order of the members of ts_cuda. Names with _v2 are those that cuda.h maps to. */
static const char *const names[] = {
    "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2", "cuModuleLoadData", "cuModuleUnload", "cuModuleGetFunction",
    "cuMemAlloc_v2", "cuMemFree_v2", "cuMemcpyHtoD_v2", "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2", "cuPointerGetAttribute", "cuStreamCreate",
    "cuStreamDestroy_v2", "cuStreamSynchronize", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuGraphExecDestroy", "cuGraphDestroy",
    "cuLaunchKernel"
};
#define TS_FUNCTION_COUNT (sizeof names / sizeof names[0])

/* Every member is a function pointer, and POSIX lets dlsym's result be one. */
typedef char ts_table_fits[sizeof(ts_cuda) == TS_FUNCTION_COUNT * sizeof(void *) ? 1 : -1];

const char *ts_cuda_open(ts_cuda *cuda)
{
    void *found[TS_FUNCTION_COUNT];
    void *driver = dlopen(TS_DRIVER, RTLD_NOW | RTLD_LOCAL);
    size_t i;
    if (driver == NULL) {
        return TS_DRIVER ", the NVIDIA driver";
    }
    for (i = 0; i < TS_FUNCTION_COUNT; i++) {
        found[i] = dlsym(driver, names[i]);
        if (found[i] == NULL) {
            return "an NVIDIA driver for CUDA 11.4 or newer";
        }
    }
    memcpy(cuda, found, sizeof found);
    return NULL;
}
