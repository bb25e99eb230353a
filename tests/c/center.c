/* A kernel of two phases: sums of rows into scratch, then x minus the mean of everything.
 * May work in place. Calls a weak helper of a fixed name, as LLVM's objects may. */
#include <stdint.h>

__attribute__((weak)) float fixed_name_helper(float sum)
{
    return sum / 4096.0f;
}

void SYMBOL_0(void *x, void *output, void *sums, int32_t begin, int32_t end)
{
    int32_t i, j;
    (void)output;
    for (i = begin; i < end; i++) {
        float sum = 0.0f;
        for (j = 0; j < 64; j++) {
            sum += ((const float *)x)[i * 64 + j];
        }
        ((float *)sums)[i] = sum;
    }
}

void SYMBOL_1(void *x, void *output, void *sums, int32_t begin, int32_t end)
{
    int32_t i;
    float mean = 0.0f;
    for (i = 0; i < 64; i++) {
        mean += ((const float *)sums)[i];
    }
    mean = fixed_name_helper(mean);
    for (i = begin * 64; i < end * 64; i++) {
        ((float *)output)[i] = ((const float *)x)[i] - mean;
    }
}
