/* run_file X Y COPY: reads x, runs kws both ways, writes both outputs. Written from kws.h alone. */
#include "kws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float x[64 * 64], y[64 * 64], copy[64 * 64], y_again[64 * 64];
static double arena[(KWS_ARENA_BYTES + KWS_ARENA_ALIGN) / sizeof(double) + 1];

static int transfer(const char *path, const char *mode, float *values)
{
    FILE *file = fopen(path, mode);
    size_t count = 0;
    if (file != NULL) {
        count = mode[0] == 'r' ? fread(values, 4, 64 * 64, file) : fwrite(values, 4, 64 * 64, file);
        fclose(file);
    }
    return count == 64 * 64;
}

int main(int argc, char **argv)
{
    kws_inputs in;
    kws_outputs out;
    kws_memory memory;
    kws_session *session = NULL;
    int error;
    if (argc != 4 || !transfer(argv[1], "rb", x) || !kws_cpu_supported()) {
        return 2;
    }
    in.in_put = x;
    out.y = y;
    out.Y_copy = copy;
    memory.region[0] = (char *)arena + (KWS_ARENA_ALIGN - (size_t)arena % KWS_ARENA_ALIGN);
    error = kws_run(&in, &out, &memory);
    if (error == TUNESMITH_OK) {
        error = kws_create(&session, NULL);
    }
    if (error == TUNESMITH_OK) {
        out.y = y_again;
        error = kws_session_run(session, &in, &out);
        kws_destroy(session);
    }
    if (error != TUNESMITH_OK) {
        fprintf(stderr, "%s\n", tunesmith_error_string(error));
        return 1;
    }
    if (memcmp(y, y_again, sizeof y) != 0) {
        return 3;
    }
    return transfer(argv[2], "wb", y) && transfer(argv[3], "wb", copy) ? 0 : 4;
}
