/* Serial runs: checks of the caller's pointers, then phase after phase on the calling thread. */
#include "runtime.h"

static int check_pointer(const void *pointer, size_t alignment)
{
    if (pointer == NULL) {
        return TUNESMITH_E_NULL;
    }
    return (uintptr_t)pointer % alignment == 0 ? TUNESMITH_OK : TUNESMITH_E_ALIGN;
}

int ts_check(const tunesmith_model *model, const void *const *inputs, void *const *outputs)
{
    int error = TUNESMITH_OK;
    int32_t i;
    if (inputs == NULL || outputs == NULL) {
        return TUNESMITH_E_NULL;
    }
    for (i = 0; i < model->input_count && error == TUNESMITH_OK; i++) {
        error = check_pointer(inputs[i], model->inputs[i].element_bytes);
    }
    for (i = 0; i < model->output_count && error == TUNESMITH_OK; i++) {
        error = check_pointer(outputs[i], model->outputs[i].element_bytes);
    }
    return error;
}

static int check_regions(const tunesmith_model *model, void *const *regions)
{
    int error = TUNESMITH_OK;
    int32_t i;
    if (regions == NULL && model->region_count != 0) {
        return TUNESMITH_E_NULL;
    }
    for (i = 0; i < model->region_count && error == TUNESMITH_OK; i++) {
        if (model->regions[i].size_bytes != 0) {
            error = check_pointer(regions[i], model->regions[i].alignment);
        }
    }
    return error;
}

int ts_run_calls(const ts_program *program, const void *const *inputs, void *const *outputs,
                 void *const *regions, int32_t first, int32_t last)
{
    const tunesmith_model *model = program->model;
    ts_frame frame;
    int32_t i;
    int error;
    if (first < 0 || last < first || last > model->call_count) {
        return TUNESMITH_E_ABI;
    }
    error = ts_check(model, inputs, outputs);
    if (error == TUNESMITH_OK) {
        error = check_regions(model, regions);
    }
    if (error != TUNESMITH_OK) {
        return error;
    }
    frame.inputs = inputs;
    frame.outputs = outputs;
    frame.regions = regions;
    frame.more_scratch = NULL;
    frame.more_scratch_stride = 0;
    for (i = program->first_step[first]; i < program->first_step[last]; i++) {
        program->steps[i].run(&frame, 0, 0, program->steps[i].extent);
    }
    if (last == model->call_count && program->finish != NULL) {
        program->finish(&frame);
    }
    return TUNESMITH_OK;
}

int ts_run(const ts_program *program, const void *const *inputs, void *const *outputs,
           void *const *regions)
{
    return ts_run_calls(program, inputs, outputs, regions, 0, program->model->call_count);
}
