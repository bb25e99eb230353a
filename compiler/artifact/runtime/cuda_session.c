/* Sessions on a GPU: device memory, one stream, and the launches of a run as one CUDA graph.
 *
 * The first run starts each kernel by itself, which also loads it; then the same launches are
 * captured, and every later run is one launch of the graph. That works because kernels read and
 * write memory of the session only: inputs are copied in and outputs out, from and to host or
 * device memory as the pointers are. */
#include "cuda_driver.h"
#include "cuda_session.h"

#include <stdlib.h>
#include <string.h>

#define TS_ALIGN_BYTES 256

struct ts_gpu_session {
    const ts_gpu_program *program;
    ts_cuda cuda;
    ts_cu_device device;
    ts_cu_handle context;
    ts_cu_handle module;
    ts_cu_handle *functions;
    ts_cu_handle own_stream;
    ts_cu_handle stream;   /* the caller's, or own_stream */
    ts_cu_handle graph;    /* executable; NULL before the second run */
    ts_cu_pointer weights;
    ts_cu_pointer memory;  /* arena, inputs, outputs */
    ts_cu_pointer *inputs; /* in memory */
    ts_cu_pointer *outputs;
    ts_cu_pointer *values; /* of the arguments of one launch */
    void **arguments;
    int busy;
};

static int as_error(ts_cu_result result)
{
    if (result == 0) {
        return TUNESMITH_OK;
    }
    return result == TS_CU_OUT_OF_MEMORY ? TUNESMITH_E_MEMORY : TUNESMITH_E_DEVICE;
}

static size_t round_up(size_t size)
{
    return (size + TS_ALIGN_BYTES - 1) / TS_ALIGN_BYTES * TS_ALIGN_BYTES;
}

/* Open the driver and find the device; NULL, or what is missing. */
static const char *find_device(const ts_gpu_program *program, ts_cuda *cuda, int32_t number,
                               ts_cu_device *device)
{
    int count = 0, major = 0, minor = 0;
    const char *missing = ts_cuda_open(cuda);
    if (missing != NULL) {
        return missing;
    }
    if (cuda->init(0) != 0 || cuda->device_count(&count) != 0 || number < 0 || number >= count ||
        cuda->device_get(device, number) != 0 ||
        cuda->device_attribute(&major, TS_CU_CAPABILITY_MAJOR, *device) != 0 ||
        cuda->device_attribute(&minor, TS_CU_CAPABILITY_MINOR, *device) != 0) {
        return "an NVIDIA GPU";
    }
    return 10 * major + minor < program->capability ? program->needed : NULL;
}

const char *ts_gpu_missing(const ts_gpu_program *program)
{
    ts_cuda cuda;
    ts_cu_device device = 0;
    return find_device(program, &cuda, 0, &device);
}

/* ---- making a session ---- */

static int read_options(tunesmith_options *options, const tunesmith_options *given)
{
    memset(options, 0, sizeof *options);
    if (given != NULL) {
        size_t size = given->struct_size < sizeof *options ? given->struct_size : sizeof *options;
        if (size < offsetof(tunesmith_options, parallel_for)) {
            return TUNESMITH_E_ABI;
        }
        memcpy(options, given, size);
    }
    return TUNESMITH_OK;
}

static int allocate_tables(ts_gpu_session *session)
{
    const ts_gpu_program *program = session->program;
    size_t most = (size_t)program->most_arguments + 1;
    size_t function_count = (size_t)program->function_count + 1;
    size_t input_count = (size_t)program->model->input_count + 1;
    size_t output_count = (size_t)program->model->output_count + 1;
    session->functions = (ts_cu_handle *)calloc(function_count, sizeof(ts_cu_handle));
    session->inputs = (ts_cu_pointer *)calloc(input_count, sizeof(ts_cu_pointer));
    session->outputs = (ts_cu_pointer *)calloc(output_count, sizeof(ts_cu_pointer));
    session->values = (ts_cu_pointer *)calloc(most, sizeof(ts_cu_pointer));
    session->arguments = (void **)calloc(most, sizeof(void *));
    return session->functions != NULL && session->inputs != NULL && session->outputs != NULL &&
           session->values != NULL && session->arguments != NULL;
}

/* Give each tensor its place behind what lies at `offset`; returns where the last one ends. */
static size_t place(ts_cu_pointer *places, const tunesmith_tensor *tensors, int32_t count,
                    size_t offset)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        places[i] = offset;
        offset += round_up(tensors[i].size_bytes);
    }
    return offset;
}

static ts_cu_result allocate_device(ts_gpu_session *session)
{
    const ts_gpu_program *program = session->program;
    const tunesmith_model *model = program->model;
    size_t weights = model->weight_bytes + TS_ALIGN_BYTES; /* never empty */
    size_t bytes = round_up(program->arena_bytes);
    ts_cu_result result;
    int32_t i;
    bytes = place(session->inputs, model->inputs, model->input_count, bytes);
    bytes = place(session->outputs, model->outputs, model->output_count, bytes);
    result = session->cuda.memory_allocate(&session->weights, weights);
    if (result == 0) {
        result = session->cuda.memory_allocate(&session->memory, bytes + TS_ALIGN_BYTES);
    }
    for (i = 0; i < model->input_count; i++) {
        session->inputs[i] += session->memory;
    }
    for (i = 0; i < model->output_count; i++) {
        session->outputs[i] += session->memory;
    }
    if (result == 0 && model->weight_bytes != 0) {
        result = session->cuda.upload(session->weights, ts_weights, model->weight_bytes);
    }
    return result;
}

static ts_cu_result load_functions(ts_gpu_session *session)
{
    const ts_gpu_program *program = session->program;
    ts_cu_result result = 0;
    int32_t i;
    if (program->function_count != 0) { /* a model of copies only has no image */
        result = session->cuda.module_load(&session->module, ts_device_image);
    }
    for (i = 0; i < program->function_count && result == 0; i++) {
        result = session->cuda.function_get(&session->functions[i], session->module,
                                            program->functions[i]);
    }
    return result;
}

/* With the device's context current. */
static ts_cu_result fill_session(ts_gpu_session *session, void *stream)
{
    ts_cu_result result = allocate_device(session);
    if (result == 0) {
        result = load_functions(session);
    }
    if (result == 0) {
        result = session->cuda.stream_create(&session->own_stream, TS_CU_STREAM_NON_BLOCKING);
    }
    session->stream = stream != NULL ? stream : session->own_stream;
    return result;
}

static int open_session(ts_gpu_session *session, const tunesmith_options *options)
{
    ts_cu_result result;
    ts_cu_handle ignored;
    if (find_device(session->program, &session->cuda, options->device, &session->device) != NULL) {
        return TUNESMITH_E_DEVICE;
    }
    if (!allocate_tables(session)) {
        return TUNESMITH_E_MEMORY;
    }
    result = session->cuda.context_retain(&session->context, session->device);
    if (result == 0) {
        result = session->cuda.context_push(session->context);
    }
    if (result == 0) {
        result = fill_session(session, options->stream);
        session->cuda.context_pop(&ignored);
    }
    return as_error(result);
}

int ts_gpu_create(const ts_gpu_program *program, ts_gpu_session **created,
                  const tunesmith_options *given)
{
    tunesmith_options options;
    ts_gpu_session *session;
    int error = read_options(&options, given);
    *created = NULL;
    if (error != TUNESMITH_OK) {
        return error;
    }
    session = (ts_gpu_session *)calloc(1, sizeof *session);
    if (session == NULL) {
        return TUNESMITH_E_MEMORY;
    }
    session->program = program;
    error = open_session(session, &options);
    if (error != TUNESMITH_OK) {
        ts_gpu_destroy(session);
        return error;
    }
    *created = session;
    return TUNESMITH_OK;
}

void ts_gpu_destroy(ts_gpu_session *session)
{
    ts_cu_handle ignored;
    if (session == NULL) {
        return;
    }
    if (session->context != NULL && session->cuda.context_push(session->context) == 0) {
        if (session->graph != NULL) {
            session->cuda.graph_exec_destroy(session->graph);
        }
        if (session->own_stream != NULL) {
            session->cuda.stream_destroy(session->own_stream);
        }
        if (session->module != NULL) {
            session->cuda.module_unload(session->module);
        }
        if (session->memory != 0) {
            session->cuda.memory_free(session->memory);
        }
        if (session->weights != 0) {
            session->cuda.memory_free(session->weights);
        }
        session->cuda.context_pop(&ignored);
    }
    if (session->context != NULL) {
        session->cuda.context_release(session->device);
    }
    free(session->functions);
    free(session->inputs);
    free(session->outputs);
    free(session->values);
    free(session->arguments);
    free(session);
}

/* ---- running ---- */

static ts_cu_pointer address(const ts_gpu_session *session, const ts_argument *argument)
{
    switch (argument->place) {
    case TS_WEIGHTS: return session->weights + (ts_cu_pointer)argument->offset;
    case TS_ARENA: return session->memory + (ts_cu_pointer)argument->offset;
    case TS_INPUT: return session->inputs[argument->offset];
    default: return session->outputs[argument->offset];
    }
}

static ts_cu_result launch(ts_gpu_session *session, const ts_launch *one, ts_cu_handle stream)
{
    int32_t i;
    for (i = 0; i < one->argument_count; i++) {
        const ts_argument *argument = &session->program->arguments[one->first_argument + i];
        session->values[i] = address(session, argument);
        session->arguments[i] = &session->values[i];
    }
    session->arguments[i] = NULL; /* who watches the calls can count them */
    return session->cuda.launch(session->functions[one->function], one->grid[0], one->grid[1],
                                one->grid[2], one->block[0], one->block[1], one->block[2], 0,
                                stream, session->arguments, NULL);
}

static ts_cu_result launch_all(ts_gpu_session *session, ts_cu_handle stream)
{
    const ts_gpu_program *program = session->program;
    ts_cu_result result = 0;
    int32_t i;
    for (i = 0; i < program->launch_count && result == 0; i++) {
        result = launch(session, &program->launches[i], stream);
    }
    for (i = 0; i < program->copy_count && result == 0; i++) {
        const ts_device_copy *copy = &program->copies[i];
        result = session->cuda.copy_async(address(session, &copy->destination),
                                          address(session, &copy->source),
                                          (size_t)copy->size_bytes, stream);
    }
    return result;
}

/* Record the launches of a run; nothing runs meanwhile. */
static ts_cu_result capture(ts_gpu_session *session)
{
    ts_cu_handle graph = NULL;
    ts_cu_result result, ended;
    result = session->cuda.capture_begin(session->own_stream, TS_CU_CAPTURE_THREAD_LOCAL);
    if (result != 0) {
        return result;
    }
    result = launch_all(session, session->own_stream);
    ended = session->cuda.capture_end(session->own_stream, &graph);
    result = result != 0 ? result : ended;
    if (result == 0) {
        result = session->cuda.graph_instantiate(&session->graph, graph, 0);
    }
    if (graph != NULL) {
        session->cuda.graph_destroy(graph);
    }
    return result;
}

static ts_cu_result run_kernels(ts_gpu_session *session)
{
    ts_cu_result result;
    if (session->graph != NULL) {
        return session->cuda.graph_launch(session->graph, session->stream);
    }
    result = launch_all(session, session->stream);
    return result != 0 ? result : capture(session);
}

/* Memory that the driver does not know is the host's. */
static int is_on_device(const ts_gpu_session *session, const void *pointer)
{
    unsigned kind = 0;
    ts_cu_pointer where = (ts_cu_pointer)(uintptr_t)pointer;
    return session->cuda.pointer_attribute(&kind, TS_CU_MEMORY_TYPE, where) == 0 &&
           kind == TS_CU_DEVICE_MEMORY;
}

static ts_cu_result copy_in(ts_gpu_session *session, const void *const *inputs, int *waits)
{
    const tunesmith_model *model = session->program->model;
    ts_cu_result result = 0;
    int32_t i;
    for (i = 0; i < model->input_count && result == 0; i++) {
        size_t size = model->inputs[i].size_bytes;
        if (size == 0) {
            continue;
        }
        if (is_on_device(session, inputs[i])) {
            result = session->cuda.copy_async(session->inputs[i],
                                              (ts_cu_pointer)(uintptr_t)inputs[i], size,
                                              session->stream);
        } else {
            *waits = 1; /* the caller may change its memory when the call returns */
            result = session->cuda.upload_async(session->inputs[i], inputs[i], size,
                                                session->stream);
        }
    }
    return result;
}

static ts_cu_result copy_out(ts_gpu_session *session, void *const *outputs, int *waits)
{
    const tunesmith_model *model = session->program->model;
    ts_cu_result result = 0;
    int32_t i;
    for (i = 0; i < model->output_count && result == 0; i++) {
        size_t size = model->outputs[i].size_bytes;
        if (size == 0) {
            continue;
        }
        if (is_on_device(session, outputs[i])) {
            result = session->cuda.copy_async((ts_cu_pointer)(uintptr_t)outputs[i],
                                              session->outputs[i], size, session->stream);
        } else {
            *waits = 1;
            result = session->cuda.download_async(outputs[i], session->outputs[i], size,
                                                  session->stream);
        }
    }
    return result;
}

/* With the device's context current. Waits for the device unless all is on the device and the
 * stream is the caller's, whose order then holds. */
static ts_cu_result run_on_device(ts_gpu_session *session, const void *const *inputs,
                                  void *const *outputs)
{
    int waits = session->stream == session->own_stream;
    ts_cu_result result = copy_in(session, inputs, &waits);
    if (result == 0) {
        result = run_kernels(session);
    }
    if (result == 0) {
        result = copy_out(session, outputs, &waits);
    }
    if (waits) {
        ts_cu_result done = session->cuda.stream_wait(session->stream);
        result = result != 0 ? result : done;
    }
    return result;
}

int ts_gpu_session_run(ts_gpu_session *session, const void *const *inputs, void *const *outputs)
{
    ts_cu_handle ignored;
    ts_cu_result result;
    int error;
    if (session == NULL) {
        return TUNESMITH_E_NULL;
    }
    error = ts_check(session->program->model, inputs, outputs);
    if (error != TUNESMITH_OK) {
        return error;
    }
    if (__atomic_exchange_n(&session->busy, 1, __ATOMIC_ACQUIRE)) {
        return TUNESMITH_E_BUSY;
    }
    result = session->cuda.context_push(session->context);
    if (result == 0) {
        result = run_on_device(session, inputs, outputs);
        session->cuda.context_pop(&ignored);
    }
    __atomic_store_n(&session->busy, 0, __ATOMIC_RELEASE);
    return as_error(result);
}
