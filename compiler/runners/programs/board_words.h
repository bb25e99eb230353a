/* What a board says of itself: a function that TVM's RPC server can call. */
#ifndef BOARD_WORDS_H
#define BOARD_WORDS_H

#include "tunesmith.h"
#include "tvm_ffi_abi.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* The rest of the first line of a file that starts with `key` and a colon; the whole of the first
 * line for an empty key. Returns whether there is one. */
static int find_line(const char *path, const char *key, char *to, size_t size)
{
    char line[512];
    FILE *file = fopen(path, "r");
    int found = 0;
    if (file == NULL) {
        return 0;
    }
    while (!found && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        const char *start = *key == '\0' ? line : colon == NULL ? "" : colon + 1;
        found = strncmp(line, key, strlen(key)) == 0 && *start != '\0';
        if (found) {
            snprintf(to, size, "%s", start + strspn(start, " \t"));
            to[strcspn(to, "\n")] = '\0';
        }
    }
    fclose(file);
    return found;
}

/* describe(text, bytes): system, architecture, host name and what it is, one a line. */
FFI_FUNCTION(describe)
{
    struct utsname name;
    char what[256] = "";
    (void)self;
    (void)count;
    if (uname(&name) != 0) {
        return ffi_return(result, TUNESMITH_E_DEVICE);
    }
    if (!find_line("/proc/device-tree/model", "", what, sizeof what)) {
        find_line("/proc/cpuinfo", "model name", what, sizeof what);
    }
    snprintf((char *)ffi_data(&arguments[0]), (size_t)arguments[1].value.integer, "%s\n%s\n%s\n%s",
             name.sysname, name.machine, name.nodename, what);
    return ffi_return(result, TUNESMITH_OK);
}

#endif
