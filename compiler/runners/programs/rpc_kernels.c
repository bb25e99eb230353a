/* Kernels of a model as one function that TVM's RPC server can call. Linked with a generated table
 * and the kernels' objects of the model's static library; weights are those of rpc_model.c. */
#define _DEFAULT_SOURCE /* sigaction */
#include "board_guard.h"
#include "tunesmith.h"
#include "tvm_ffi_abi.h"

#define MOST_OPERANDS 256

typedef void (*phase)(void **pointers, int32_t begin, int32_t end);
extern const phase phases[]; /* generated */

/* call(timeout_s, phases, function and work items of each, operands...): an operand is an address,
 * or a tensor and the offset in it. */
FFI_FUNCTION(call)
{
    void *pointers[MOST_OPERANDS];
    int32_t first = 2 + 2 * (int32_t)arguments[1].value.integer, used = 0, i;
    (void)self;
    for (i = first; i < count; i++) {
        unsigned char *data = ffi_data(&arguments[i]);
        if (used == MOST_OPERANDS) {
            return ffi_return(result, TUNESMITH_E_ABI);
        }
        if (data == NULL) {
            pointers[used++] = (void *)(intptr_t)arguments[i].value.integer;
        } else {
            pointers[used++] = data + arguments[++i].value.integer;
        }
    }
    guard_for(arguments[0].value.integer);
    for (i = 2; i < first; i += 2) {
        phase function = phases[arguments[i].value.integer];
        int32_t end = (int32_t)arguments[i + 1].value.integer, middle = end / 2;
        function(pointers, middle, end); /* any order of work items must do */
        if (middle > 0) {
            function(pointers, 0, middle);
        }
    }
    guard_for(0);
    return ffi_return(result, TUNESMITH_OK);
}
