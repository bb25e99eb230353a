/* mnist_file IN OUT [ODD]: runs mnist_dscnn_f32 on an image, serially and in sessions of one, two
 * and five threads. All must give the same bits, which are written to OUT. With ODD, tensors begin
 * so many elements behind an aligned address. Written from the two headers alone. */
#include "mnist_dscnn_f32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS (28 * 28)
#define CLASSES 10

static int transfer(const char *path, const char *mode, float *values, size_t count)
{
    FILE *file = fopen(path, mode);
    size_t done = 0;
    if (file != NULL) {
        done = mode[0] == 'r' ? fread(values, sizeof *values, count, file)
                              : fwrite(values, sizeof *values, count, file);
        fclose(file);
    }
    return done == count;
}

static int run_serially(const mnist_dscnn_f32_inputs *in, const mnist_dscnn_f32_outputs *out)
{
    char *block = malloc(MNIST_DSCNN_F32_ARENA_BYTES + MNIST_DSCNN_F32_ARENA_ALIGN);
    mnist_dscnn_f32_memory memory;
    int error;
    if (block == NULL) {
        return TUNESMITH_E_MEMORY;
    }
    memory.region[0] = block + (MNIST_DSCNN_F32_ARENA_ALIGN -
                                (size_t)block % MNIST_DSCNN_F32_ARENA_ALIGN);
    memset(memory.region[0], 0xff, MNIST_DSCNN_F32_ARENA_BYTES); /* nothing is expected there */
    error = mnist_dscnn_f32_run(in, out, &memory);
    free(block);
    return error;
}

static int run_in_a_session(int32_t threads, const mnist_dscnn_f32_inputs *in,
                            const mnist_dscnn_f32_outputs *out)
{
    tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;
    mnist_dscnn_f32_session *session;
    int error;
    options.threads = threads;
    error = mnist_dscnn_f32_create(&session, &options);
    if (error == TUNESMITH_OK) {
        error = mnist_dscnn_f32_session_run(session, in, out);
        mnist_dscnn_f32_destroy(session);
    }
    return error;
}

int main(int argc, char **argv)
{
    static const int32_t thread_counts[] = {1, 2, 5};
    static float image[PIXELS + 16], before[PIXELS], logits[CLASSES + 16], serial[CLASSES];
    mnist_dscnn_f32_inputs in;
    mnist_dscnn_f32_outputs out;
    int odd = argc > 3 ? atoi(argv[3]) : 0;
    size_t i;
    int error;
    if (argc < 3 || !mnist_dscnn_f32_cpu_supported() ||
        !transfer(argv[1], "rb", image + odd, PIXELS)) {
        return 2;
    }
    memcpy(before, image + odd, sizeof before);
    in.input = image + odd;
    out.logits = logits + odd;
    error = run_serially(&in, &out);
    memcpy(serial, logits + odd, sizeof serial);
    for (i = 0; i < sizeof thread_counts / sizeof thread_counts[0] && error == TUNESMITH_OK; i++) {
        memset(logits, 0, sizeof logits);
        error = run_in_a_session(thread_counts[i], &in, &out);
        if (error == TUNESMITH_OK && memcmp(serial, logits + odd, sizeof serial) != 0) {
            fprintf(stderr, "%d threads give other numbers\n", (int)thread_counts[i]);
            return 3;
        }
    }
    if (error != TUNESMITH_OK) {
        fprintf(stderr, "%s\n", tunesmith_error_string(error));
        return 1;
    }
    for (i = 0; i < 16; i++) { /* what lies before and behind the output is not touched */
        if (logits[i < (size_t)odd ? i : CLASSES + i] != 0.0f) {
            return 4;
        }
    }
    if (memcmp(before, image + odd, sizeof before) != 0) {
        return 5;
    }
    return transfer(argv[2], "wb", serial, CLASSES) ? 0 : 6;
}
