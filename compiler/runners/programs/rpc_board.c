/* What is asked of a board before kernels are tried on it, as functions for TVM's RPC server. */
#define _DEFAULT_SOURCE /* uname */
#include "board_words.h"
#include "runtime/runtime.h"

const char *ts_missing_cpu_feature(void);

/* missing_feature(text, bytes): the text becomes the CPU feature that is missing, or empty. */
FFI_FUNCTION(missing_feature)
{
    const char *missing = ts_missing_cpu_feature();
    (void)self;
    (void)count;
    snprintf((char *)ffi_data(&arguments[0]), (size_t)arguments[1].value.integer, "%s",
             missing == NULL ? "" : missing);
    return ffi_return(result, TUNESMITH_OK);
}
