/* What TVM's calling convention needs, by the layout of tvm/ffi/c_api.h and dlpack.h: a function
 * `name` is the symbol __tvm_ffi_name. Nothing here needs TVM to be compiled or linked. */
#ifndef TVM_FFI_ABI_H
#define TVM_FFI_ABI_H

#include <stddef.h>
#include <stdint.h>

enum { FFI_NONE = 0, FFI_INT = 1, FFI_DLTENSOR = 7, FFI_TENSOR = 70 };

#define FFI_OBJECT_BYTES 24 /* sizeof(TVMFFIObject): the header of a TVMFFITensor's DLTensor */

typedef struct {
    void *data;
    struct {
        int32_t type, id;
    } device;
    int32_t rank;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} ffi_tensor; /* DLTensor */

typedef struct {
    int32_t type_index;
    uint32_t zero_padding;
    union {
        int64_t integer;
        void *pointer;
        uint64_t bits; /* as wide as an integer where pointers are not */
    } value;
} ffi_any; /* TVMFFIAny */

#ifdef _WIN32
#define FFI_EXPORT __declspec(dllexport)
#else
#define FFI_EXPORT __attribute__((visibility("default")))
#endif

#define FFI_FUNCTION(name)                                                                         \
    FFI_EXPORT int __tvm_ffi_##name(void *self, const ffi_any *arguments, int32_t count,           \
                                    ffi_any *result)

/* The memory of an argument, or NULL if it is no tensor. */
static inline unsigned char *ffi_data(const ffi_any *argument)
{
    const ffi_tensor *tensor;
    if (argument->type_index == FFI_DLTENSOR) {
        tensor = argument->value.pointer;
    } else if (argument->type_index == FFI_TENSOR) {
        tensor = (const void *)((const char *)argument->value.pointer + FFI_OBJECT_BYTES);
    } else {
        return NULL;
    }
    return (unsigned char *)tensor->data + tensor->byte_offset;
}

static inline int ffi_return(ffi_any *result, int64_t number)
{
    result->type_index = FFI_INT;
    result->zero_padding = 0;
    result->value.bits = 0;
    result->value.integer = number;
    return 0; /* no exception */
}

#endif
