/* The model of a shared library that is opened while the program runs, for run_model.c. */
#include "tunesmith.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

const tunesmith_model *opened_model(void)
{
    const tunesmith_model *(*describe)(void) = NULL;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) {
        *(void **)&describe = dlsym(library, SYMBOL);
    }
    if (describe == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return describe();
}
