/* A kernel as the compiler makes them: output[m, n] = x[m, k] * w[k, n] + bias[n].
 * One phase over rows; each worker adds up a row in its own scratch. */
#include <stdint.h>

void SYMBOL(void *x, void *w, void *bias, void *output, void *worker_scratch, int32_t begin,
            int32_t end)
{
    float *row = (float *)worker_scratch;
    int32_t i, j, k;
    for (i = begin; i < end; i++) {
        for (j = 0; j < 64; j++) {
            row[j] = ((const float *)bias)[j];
        }
        for (k = 0; k < 64; k++) {
            for (j = 0; j < 64; j++) {
                row[j] += ((const float *)x)[i * 64 + k] * ((const float *)w)[k * 64 + j];
            }
        }
        for (j = 0; j < 64; j++) {
            ((float *)output)[i * 64 + j] = row[j];
        }
    }
}
