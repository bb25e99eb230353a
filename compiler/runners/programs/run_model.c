/* Runs a model on sets of inputs from a file: PROGRAM INPUTS OUTPUTS SETS RUNS THREADS
 * INPUTS: for each set the input tensors in the model's order, packed. OUTPUTS: likewise, what the
 * last of RUNS runs on each set made. Linked with the model's static library. */
#include "tunesmith.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST_TENSORS 256

extern const tunesmith_model *MODEL(void); /* defined on the command line */

enum { BAD_USE = 2, BAD_FILE = 3, OTHER_CPU = 4, MODEL_FAILS = 5 };

static int allocate(void **blocks, const tunesmith_tensor *tensors, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        blocks[i] = malloc(tensors[i].size_bytes + 1);
        if (blocks[i] == NULL) {
            return 0;
        }
    }
    return 1;
}

static int run_set(const tunesmith_model *model, tunesmith_session *session, FILE *from, FILE *to,
                   void **in, void **out, long runs)
{
    int32_t i;
    long run;
    for (i = 0; i < model->input_count; i++) {
        size_t size = model->inputs[i].size_bytes;
        if (fread(in[i], 1, size, from) != size) {
            return BAD_FILE;
        }
    }
    for (run = 0; run < runs; run++) {
        int error = model->session_run(session, (const void *const *)in, out);
        if (error != TUNESMITH_OK) {
            fprintf(stderr, "%s\n", model->error_string(error));
            return MODEL_FAILS;
        }
    }
    for (i = 0; i < model->output_count; i++) {
        size_t size = model->outputs[i].size_bytes;
        if (fwrite(out[i], 1, size, to) != size) {
            return BAD_FILE;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const tunesmith_model *model = MODEL();
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    tunesmith_session *session;
    void *in[MOST_TENSORS], *out[MOST_TENSORS];
    FILE *from, *to;
    long sets, set;
    int error, status = 0;

    if (argc != 6 || model->input_count > MOST_TENSORS || model->output_count > MOST_TENSORS) {
        return BAD_USE;
    }
    if (!model->cpu_supported()) {
        fprintf(stderr, "%s\n", model->missing_cpu_feature());
        return OTHER_CPU;
    }
    from = fopen(argv[1], "rb");
    to = fopen(argv[2], "wb");
    if (from == NULL || to == NULL || !allocate(in, model->inputs, model->input_count) ||
        !allocate(out, model->outputs, model->output_count)) {
        return BAD_FILE;
    }
    options.threads = (int32_t)atol(argv[5]);
    error = model->create(&session, &options);
    if (error != TUNESMITH_OK) {
        fprintf(stderr, "%s\n", model->error_string(error));
        return MODEL_FAILS;
    }
    sets = atol(argv[3]);
    for (set = 0; set < sets && status == 0; set++) {
        status = run_set(model, session, from, to, in, out, atol(argv[4]));
    }
    model->destroy(session);
    return fclose(to) == 0 ? status : BAD_FILE;
}
