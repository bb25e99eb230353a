/* Runs a model in an emulated microcontroller, on arrays that are files of the host.
 * job.bin: number of sets of inputs, runs of each, 1 to see how deep the stack is, how often inputs
 * are written that a run overwrites: as often as it is run, or more often.
 * result.bin: bytes of stack of a run, 0 if nobody looked. */
#include "firmware_tables.h"
#include "semihosting.h"

static void read_inputs(intptr_t file, uint32_t set)
{
    uint32_t set_bytes = 0;
    int i;
    for (i = 0; i < MODEL()->input_count; i++) {
        set_bytes += (uint32_t)MODEL()->inputs[i].size_bytes;
    }
    seek(file, set * set_bytes);
    for (i = 0; i < MODEL()->input_count; i++) {
        transfer(SYS_READ, file, model_inputs[i], (uint32_t)MODEL()->inputs[i].size_bytes);
    }
}

int main(void)
{
    uint32_t job[4], set, round, depth = 0;
    intptr_t file = open_file("job.bin", MODE_READ), inputs, outputs;
    int i, error = TUNESMITH_OK;
    transfer(SYS_READ, file, job, sizeof job);
    close_file(file);
    inputs = open_file("inputs.bin", MODE_READ);
    outputs = open_file("outputs.bin", MODE_WRITE);
    for (set = 0; set < job[0]; set++) {
        for (round = 0; round < job[3] && error == TUNESMITH_OK; round++) {
            uint32_t here, used;
            if (round == 0 || INPUTS_ARE_OVERWRITTEN) {
                read_inputs(inputs, set);
            }
            if (round >= job[1]) {
                continue;
            }
            if (job[2]) {
                paint_stack();
            }
            error = MODEL()->run((const void *const *)model_inputs, model_outputs, model_regions);
            if (!job[2]) {
                continue;
            }
            used = painted_depth();
            here = (uint32_t)((uintptr_t)ts_stack_top - (uintptr_t)__builtin_frame_address(0));
            used = used > here ? used - here : 0;
            depth = used > depth ? used : depth;
        }
        if (error != TUNESMITH_OK) {
            stop(tunesmith_error_string(error), 4);
        }
        for (i = 0; i < MODEL()->output_count; i++) {
            transfer(SYS_WRITE, outputs, model_outputs[i],
                     (uint32_t)MODEL()->outputs[i].size_bytes);
        }
    }
    close_file(outputs);
    file = open_file("result.bin", MODE_WRITE);
    transfer(SYS_WRITE, file, &depth, sizeof depth);
    close_file(file);
    stop(0, 0);
}
