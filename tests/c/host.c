/* host LIBRARY SYMBOL: opens any model, knows tunesmith.h only; prints it and the outputs' sums. */
#include "tunesmith.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const tunesmith_model *(*describe)(void) = NULL;
    const tunesmith_model *model;
    tunesmith_session *session;
    const void *inputs[8];
    void *outputs[8];
    void *library;
    int32_t i;
    size_t k;
    int error;
    if (argc != 3 || (library = dlopen(argv[1], RTLD_NOW)) == NULL) {
        return 2;
    }
    *(void **)&describe = dlsym(library, argv[2]);
    if (describe == NULL) {
        return 3;
    }
    model = describe();
    if (!model->cpu_supported()) {
        error = model->create(&session, NULL);
        printf("missing %s: %s\n", model->missing_cpu_feature(), model->error_string(error));
        return error == TUNESMITH_E_CPU && session == NULL ? 0 : 5;
    }
    for (i = 0; i < model->input_count; i++) {
        inputs[i] = calloc(1, model->inputs[i].size_bytes);
    }
    for (i = 0; i < model->output_count; i++) {
        outputs[i] = malloc(model->outputs[i].size_bytes);
    }
    error = model->create(&session, NULL);
    if (error == TUNESMITH_OK) {
        error = model->session_run(session, inputs, outputs);
        model->destroy(session);
    }
    for (i = 0; i < model->output_count && error == TUNESMITH_OK; i++) {
        double sum = 0.0;
        for (k = 0; k < model->outputs[i].size_bytes / sizeof(float); k++) {
            sum += (double)((float *)outputs[i])[k] * (double)((float *)outputs[i])[k];
        }
        printf("%s %.6g\n", model->outputs[i].name, sum);
    }
    return error;
}
