/* The model of a macOS library, on Linux, for run_model.c: its memory as dyld would have made it is
 * put to the address that it was made for, and libc's functions are given to it.
 * Both systems pass such arguments alike on 64-bit Arm; where their types differ is said below. */
#define _DEFAULT_SOURCE 1
#include "tunesmith.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

static void *copy_checked(void *to, const void *from, size_t size, size_t room)
{
    return size <= room ? memcpy(to, from, size) : (abort(), (void *)NULL);
}

static void *set_checked(void *to, int byte, size_t size, size_t room)
{
    return size <= room ? memset(to, byte, size) : (abort(), (void *)NULL);
}

static int mac_clock_gettime(int clock, struct timespec *now)
{
    return clock == 6 ? clock_gettime(CLOCK_MONOTONIC, now) : -1; /* CLOCK_MONOTONIC of macOS */
}

/* A set of signals has 4 bytes there; there are no signals here. */
static int mac_sigmask(int how, const uint32_t *set, uint32_t *before)
{
    if (before != NULL) {
        *before = 0;
    }
    return how == 3 && set != NULL ? 0 : -1; /* SIG_SETMASK of macOS */
}

static int mac_sysctl(const char *name, void *old, size_t *size, void *new_value, size_t new_size)
{
    int yes = 1;
    if (strncmp(name, "hw.optional.arm.FEAT_", 21) != 0 || *size != sizeof yes || new_value != NULL ||
        new_size != 0) {
        return -1;
    }
    memcpy(old, &yes, sizeof yes);
    return 0;
}

/* Mutexes and conditions are no larger here than there: 64 and 48 bytes. */
typedef char mutex_fits[sizeof(pthread_mutex_t) <= 64 ? 1 : -1];
typedef char condition_fits[sizeof(pthread_cond_t) <= 48 ? 1 : -1];

typedef void (*function)(void);
static const struct {
    const char *name;
    function address;
} functions[] = {
    {"___memcpy_chk", (function)copy_checked},
    {"___memset_chk", (function)set_checked},
    {"_bzero", (function)bzero},
    {"_calloc", (function)calloc},
    {"_clock_gettime", (function)mac_clock_gettime},
    {"_free", (function)free},
    {"_memcpy", (function)memcpy},
    {"_memset", (function)memset},
    {"_posix_memalign", (function)posix_memalign},
    {"_pthread_cond_broadcast", (function)pthread_cond_broadcast},
    {"_pthread_cond_destroy", (function)pthread_cond_destroy},
    {"_pthread_cond_init", (function)pthread_cond_init},
    {"_pthread_cond_signal", (function)pthread_cond_signal},
    {"_pthread_cond_wait", (function)pthread_cond_wait},
    {"_pthread_create", (function)pthread_create},
    {"_pthread_join", (function)pthread_join},
    {"_pthread_mutex_destroy", (function)pthread_mutex_destroy},
    {"_pthread_mutex_init", (function)pthread_mutex_init},
    {"_pthread_mutex_lock", (function)pthread_mutex_lock},
    {"_pthread_mutex_unlock", (function)pthread_mutex_unlock},
    {"_pthread_sigmask", (function)mac_sigmask},
    {"_sched_yield", (function)sched_yield},
    {"_sysctlbyname", (function)mac_sysctl},
    {"dyld_stub_binder", (function)abort}, /* binds late; nothing is left to bind */
};

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static function function_called(const char *name)
{
    size_t i;
    for (i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (strcmp(functions[i].name, name) == 0) {
            return functions[i].address;
        }
    }
    fail(name);
    return NULL;
}

/* The file `image`: IMAGE_BYTES. The file `imports`: a line "offset symbol" for each pointer. */
const tunesmith_model *image_model(void)
{
    char name[256];
    unsigned long offset;
    const tunesmith_model *(*describe)(void);
    unsigned char *base = mmap((void *)IMAGE_BASE, IMAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    FILE *image = fopen("image", "rb");
    FILE *imports = fopen("imports", "r");
    void *entry = base + MODEL_OFFSET;
    if (base != (void *)IMAGE_BASE || image == NULL || imports == NULL ||
        fread(base, 1, IMAGE_BYTES, image) != IMAGE_BYTES) {
        fail("there is no image");
    }
    while (fscanf(imports, "%lu %255s", &offset, name) == 2) {
        function address = function_called(name);
        memcpy(base + offset, &address, sizeof address);
    }
    __builtin___clear_cache((char *)base, (char *)base + IMAGE_BYTES);
    memcpy(&describe, &entry, sizeof describe);
    return describe();
}
