/* A libcuda.so.1 that runs nothing: device memory is the host's, and every call that does
 * something is a line of the file named by MOCK_CUDA_LOG. MOCK_CUDA_CAPABILITY ("80") is its
 * GPU's compute capability, MOCK_CUDA_DEVICES how many GPUs there are (1).
 * MOCK_CUDA_FAIL names a function that fails. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BLOCKS 64

typedef unsigned long long pointer;

static struct { unsigned char *start; size_t size; } blocks[MOST_BLOCKS];
static int is_captured;

static int record(const char *function, const char *format, ...)
{
    const char *path = getenv("MOCK_CUDA_LOG");
    const char *failing = getenv("MOCK_CUDA_FAIL");
    FILE *file = path == NULL ? NULL : fopen(path, "a");
    if (file != NULL) {
        va_list values;
        fprintf(file, "%s%s", is_captured ? "captured " : "", function);
        va_start(values, format);
        vfprintf(file, format, values);
        va_end(values);
        fprintf(file, "\n");
        fclose(file);
    }
    return failing != NULL && strcmp(failing, function) == 0 ? 999 : 0;
}

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : atoi(text);
}

int cuInit(unsigned flags) { (void)flags; return record("cuInit", ""); }
int cuDeviceGetCount(int *count) { *count = number("MOCK_CUDA_DEVICES", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    int capability = number("MOCK_CUDA_CAPABILITY", 80);
    (void)device;
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    *context = (void *)(size_t)(device + 1);
    return record("cuDevicePrimaryCtxRetain", " %d", device);
}

int cuDevicePrimaryCtxRelease_v2(int device) { return record("cuDevicePrimaryCtxRelease", " %d", device); }
int cuCtxPushCurrent_v2(void *context) { return context == NULL ? 201 : 0; }
int cuCtxPopCurrent_v2(void **context) { *context = NULL; return 0; }

int cuModuleLoadData(void **module, const void *image)
{
    unsigned magic;
    memcpy(&magic, image, sizeof magic);
    *module = (void *)1;
    return record("cuModuleLoadData", " %08x", magic);
}

int cuModuleUnload(void *module) { (void)module; return record("cuModuleUnload", ""); }

int cuModuleGetFunction(void **function, void *module, const char *name)
{
    (void)module;
    *function = (void *)name; /* the library's own text: it lives as long */
    return record("cuModuleGetFunction", " %s", name);
}

int cuMemAlloc_v2(pointer *address, size_t size)
{
    int i = 0;
    while (i < MOST_BLOCKS && blocks[i].start != NULL) {
        i++;
    }
    if (i == MOST_BLOCKS) {
        return 2;
    }
    blocks[i].start = (unsigned char *)aligned_alloc(256, (size + 255) / 256 * 256);
    blocks[i].size = size;
    memset(blocks[i].start, 0, size);
    *address = (pointer)(size_t)blocks[i].start;
    return record("cuMemAlloc", " %zu", size);
}

static int block_of(pointer address)
{
    int i;
    for (i = 0; i < MOST_BLOCKS; i++) {
        size_t at = (size_t)address - (size_t)blocks[i].start;
        if (blocks[i].start != NULL && at < blocks[i].size) {
            return i;
        }
    }
    return -1;
}

int cuMemFree_v2(pointer address)
{
    int i = block_of(address);
    if (i < 0) {
        return 1;
    }
    free(blocks[i].start);
    blocks[i].start = NULL;
    return record("cuMemFree", "");
}

static int is_inside(pointer address, size_t size)
{
    int i = block_of(address);
    return i >= 0 && (size_t)address - (size_t)blocks[i].start + size <= blocks[i].size;
}

int cuMemcpyHtoD_v2(pointer to, const void *from, size_t size)
{
    if (!is_inside(to, size)) {
        return 1;
    }
    memcpy((void *)(size_t)to, from, size);
    return record("cuMemcpyHtoD", " %zu", size);
}

int cuMemcpyHtoDAsync_v2(pointer to, const void *from, size_t size, void *stream)
{
    if (!is_inside(to, size)) {
        return 1;
    }
    memcpy((void *)(size_t)to, from, size);
    return record("cuMemcpyHtoDAsync", " %zu stream %zu", size, (size_t)stream);
}

int cuMemcpyDtoHAsync_v2(void *to, pointer from, size_t size, void *stream)
{
    if (!is_inside(from, size)) {
        return 1;
    }
    memcpy(to, (const void *)(size_t)from, size);
    return record("cuMemcpyDtoHAsync", " %zu stream %zu", size, (size_t)stream);
}

int cuMemcpyDtoDAsync_v2(pointer to, pointer from, size_t size, void *stream)
{
    if (!is_inside(to, size) || !is_inside(from, size)) {
        return 1;
    }
    memmove((void *)(size_t)to, (const void *)(size_t)from, size);
    return record("cuMemcpyDtoDAsync", " %zu stream %zu", size, (size_t)stream);
}

int cuPointerGetAttribute(void *value, int attribute, pointer address)
{
    unsigned kind = 2;
    if (attribute != 2 || block_of(address) < 0) {
        return 1; /* as CUDA answers for memory that it did not give */
    }
    memcpy(value, &kind, sizeof kind);
    return 0;
}

int cuStreamCreate(void **stream, unsigned flags)
{
    *stream = (void *)7;
    return record("cuStreamCreate", " %u", flags);
}

int cuStreamDestroy_v2(void *stream) { (void)stream; return record("cuStreamDestroy", ""); }
int cuStreamSynchronize(void *stream) { return record("cuStreamSynchronize", " %zu", (size_t)stream); }

int cuStreamBeginCapture_v2(void *stream, int mode)
{
    int error = record("cuStreamBeginCapture", " %zu %d", (size_t)stream, mode);
    is_captured = 1;
    return error;
}

int cuStreamEndCapture(void *stream, void **graph)
{
    (void)stream;
    is_captured = 0;
    *graph = (void *)1;
    return record("cuStreamEndCapture", "");
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags)
{
    (void)graph;
    *executable = (void *)2;
    return record("cuGraphInstantiate", " %llu", flags);
}

int cuGraphLaunch(void *executable, void *stream)
{
    (void)executable;
    return record("cuGraphLaunch", " stream %zu", (size_t)stream);
}

int cuGraphExecDestroy(void *executable) { (void)executable; return record("cuGraphExecDestroy", ""); }
int cuGraphDestroy(void *graph) { (void)graph; return record("cuGraphDestroy", ""); }

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **arguments, void **extra)
{
    int inside = 0, count = 0;
    (void)extra;
    (void)shared;
    (void)stream;
    for (; arguments[count] != NULL; count++) {
        pointer address;
        memcpy(&address, arguments[count], sizeof address);
        inside += block_of(address) >= 0;
    }
    return record("cuLaunchKernel", " %s %u,%u,%u %u,%u,%u %d of %d arguments in device memory",
                  (const char *)function, gx, gy, gz, bx, by, bz, inside, count);
}
