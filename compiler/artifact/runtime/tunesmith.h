/* tunesmith.h: what every compiled model shares. C99, usable from C++.
 *
 * A model called `kws` adds a header kws.h with kws_run and its companions. A host that opens
 * models at run time needs this header only: dlsym "kws_model", and use the descriptor.
 *
 * Rules that hold for every model:
 * - An input or output needs the alignment of its element only. Inputs are never written.
 * - An output may overlap neither an input nor another output.
 * - Tensors are dense, row-major, in the shape of the descriptor. bool is one byte, 0 or 1;
 *   float16 and bfloat16 are passed as uint16_t bits.
 * - run is serial, may be called from any number of threads at once (each with memory of its
 *   own), allocates nothing and writes no globals. It does not look at the CPU: where the code
 *   may be run on a CPU it was not built for, call cpu_supported once before.
 * - A session owns its memory and its threads. It serves one call at a time, a second one gets
 *   TUNESMITH_E_BUSY; several sessions of one or of several models work side by side. It must
 *   not be destroyed during a call, and it does not outlive a fork.
 */
#ifndef TUNESMITH_H
#define TUNESMITH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Layout and meaning of everything in this file. */
#define TUNESMITH_ABI_VERSION 1

enum {
    TUNESMITH_OK = 0,
    TUNESMITH_E_NULL = 1,   /* a pointer that is needed is NULL */
    TUNESMITH_E_ALIGN = 2,  /* a tensor is not aligned to its element, or a region to its _ALIGN */
    TUNESMITH_E_CPU = 3,    /* the CPU or the operating system lacks what the code was built for */
    TUNESMITH_E_MEMORY = 4, /* memory or threads could not be had */
    TUNESMITH_E_DEVICE = 5, /* no such device */
    TUNESMITH_E_BUSY = 6,   /* the session is running another call */
    TUNESMITH_E_ABI = 7     /* struct_size or a call number that this library does not know */
};

/* Inline, so that two models in one program do not both define it. */
static inline const char *tunesmith_error_string(int error)
{
    switch (error) {
    case TUNESMITH_OK: return "no error";
    case TUNESMITH_E_NULL: return "a pointer that is needed is NULL";
    case TUNESMITH_E_ALIGN: return "a pointer is not aligned as the interface asks";
    case TUNESMITH_E_CPU: return "the CPU or operating system lacks what the code was built for";
    case TUNESMITH_E_MEMORY: return "memory or threads could not be had";
    case TUNESMITH_E_DEVICE: return "no such device";
    case TUNESMITH_E_BUSY: return "the session is running another call";
    case TUNESMITH_E_ABI: return "a struct size or call number that this library does not know";
    default: return "unknown error";
    }
}

enum {
    TUNESMITH_BOOL = 1,
    TUNESMITH_INT8 = 2,
    TUNESMITH_UINT8 = 3,
    TUNESMITH_INT16 = 4,
    TUNESMITH_UINT16 = 5,
    TUNESMITH_FLOAT16 = 6,
    TUNESMITH_BFLOAT16 = 7,
    TUNESMITH_INT32 = 8,
    TUNESMITH_UINT32 = 9,
    TUNESMITH_FLOAT32 = 10,
    TUNESMITH_INT64 = 11,
    TUNESMITH_UINT64 = 12,
    TUNESMITH_FLOAT64 = 13
};

/* An input or output. */
typedef struct tunesmith_tensor {
    const char *name;     /* as in the ONNX file, UTF-8 */
    int32_t dtype;        /* TUNESMITH_FLOAT32, ... */
    int32_t rank;         /* 0: a scalar */
    const int64_t *shape; /* rank numbers; NULL if rank is 0 */
    size_t size_bytes;
    size_t element_bytes; /* also the alignment that its pointer needs */
    int32_t quantized;    /* 1: real = scale * (q - zero_point) */
    int32_t zero_point;
    double scale;
} tunesmith_tensor;

/* Memory that a call works in. */
typedef struct tunesmith_region {
    const char *name;
    size_t size_bytes;
    size_t alignment;
} tunesmith_region;

/* Work for an application's own threads: call task(task_context, index) once for every index in
 * 0 .. count - 1, on any threads and in any order, and return when all calls have returned. */
typedef void (*tunesmith_task)(void *task_context, int32_t index);
typedef void (*tunesmith_parallel_for)(void *context, int32_t count, tunesmith_task task,
                                       void *task_context);

/* How a session works. Zeroes, except for struct_size, are the defaults. */
typedef struct tunesmith_options {
    size_t struct_size;    /* sizeof(tunesmith_options) */
    int32_t threads;       /* the calling one included; less than 1: 1; at most 1024 */
    int32_t spin_us;       /* how long a waiting thread polls before it sleeps; 0: 100; -1: not */
    tunesmith_parallel_for parallel_for; /* not NULL: use it, `threads` at a time, start none */
    void *parallel_context;              /* its first argument */
    int32_t device;        /* GPU artifacts; else 0 */
    void *stream;          /* GPU artifacts; else NULL */
} tunesmith_options;
#define TUNESMITH_OPTIONS_DEFAULT {sizeof(tunesmith_options), 0, 0, NULL, NULL, 0, NULL}

typedef struct tunesmith_session tunesmith_session;

/* Everything about a model, and how to call it by arrays of pointers: inputs and outputs in the
 * order of the descriptor, regions likewise. A later version only adds members at the end. */
typedef struct tunesmith_model {
    size_t struct_size;  /* of the struct as the library knows it */
    int32_t abi_version; /* TUNESMITH_ABI_VERSION of the library */
    int32_t call_count;  /* kernel calls of one run */
    const char *name;
    const char *target;      /* name of the target spec */
    const char *fingerprint; /* of what in it changes generated code */
    int32_t input_count;
    int32_t output_count;
    int32_t region_count;
    int32_t reserved;
    const tunesmith_tensor *inputs;
    const tunesmith_tensor *outputs;
    const tunesmith_region *regions;
    size_t weight_bytes;
    size_t worker_scratch_bytes; /* what a session allocates for each thread but the first */
    int (*cpu_supported)(void);  /* 1 or 0; built for the baseline of the architecture */
    const char *(*missing_cpu_feature)(void); /* name of the first one that is missing, or NULL */
    const char *(*error_string)(int error);
    int (*run)(const void *const *inputs, void *const *outputs, void *const *regions);
    /* Only the kernel calls first .. last - 1 of a run, on the regions as they are; the copies
     * that end a run are made if last is call_count. For checks and profiles of single kernels. */
    int (*run_calls)(const void *const *inputs, void *const *outputs, void *const *regions,
                     int32_t first, int32_t last);
    /* NULL in libraries without sessions: */
    int (*create)(tunesmith_session **session, const tunesmith_options *options);
    int (*session_run)(tunesmith_session *session, const void *const *inputs,
                       void *const *outputs);
    void (*destroy)(tunesmith_session *session); /* NULL is allowed */
} tunesmith_model;

#ifdef __cplusplus
}
#endif

#endif
