/* Calls the functions of compiler/runners/programs/rpc_model.c as TVM's server would, without TVM:
 * PROGRAM INPUT INPUT_BYTES OUTPUT OUTPUT_BYTES, a model with one input and one output. */
#include "tvm_ffi_abi.h"

#include <stdio.h>
#include <stdlib.h>

FFI_FUNCTION(describe);
FFI_FUNCTION(start);
FFI_FUNCTION(run);

static ffi_any tensor_of(int64_t bytes)
{
    static const ffi_tensor empty;
    ffi_tensor *tensor = malloc(sizeof *tensor);
    int64_t *shape = malloc(sizeof *shape);
    ffi_any argument = {FFI_DLTENSOR, 0, {0}};
    *tensor = empty;
    *shape = bytes;
    tensor->byte_offset = 64; /* the memory begins there */
    tensor->data = calloc(1, (size_t)bytes + 64);
    tensor->rank = 1;
    tensor->shape = shape;
    argument.value.pointer = tensor;
    return argument;
}

static ffi_any integer_of(int64_t number)
{
    ffi_any argument = {FFI_INT, 0, {0}};
    argument.value.integer = number;
    return argument;
}

int main(int argc, char **argv)
{
    int64_t in_bytes = argc == 5 ? atol(argv[2]) : 0, out_bytes = argc == 5 ? atol(argv[4]) : 0;
    ffi_any text = tensor_of(256), times = tensor_of(3 * 8);
    ffi_any in = tensor_of(in_bytes), out = tensor_of(out_bytes), result;
    ffi_any described[] = {text, integer_of(256)};
    ffi_any started[] = {integer_of(2), text, integer_of(256)};
    ffi_any ran[] = {integer_of(60), integer_of(3), times, in, out};
    FILE *from = fopen(argv[1], "rb"), *to = fopen(argv[3], "wb");

    if (fread(ffi_data(&in), 1, (size_t)in_bytes, from) != (size_t)in_bytes) {
        return 2;
    }
    if (__tvm_ffi_describe(NULL, described, 2, &result) != 0 || result.value.integer != 0) {
        return 3;
    }
    printf("%s\n", (const char *)ffi_data(&text));
    if (__tvm_ffi_start(NULL, started, 3, &result) != 0 || result.value.integer != 0) {
        return 4;
    }
    if (__tvm_ffi_run(NULL, ran, 5, &result) != 0 || result.value.integer != 0) {
        return 5;
    }
    fwrite(ffi_data(&out), 1, (size_t)out_bytes, to);
    return fclose(to) == 0 && ((int64_t *)(void *)ffi_data(&times))[2] > 0 ? 0 : 6;
}
