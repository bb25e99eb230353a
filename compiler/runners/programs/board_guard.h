/* What keeps a board's server alive whatever a library does there. TVM's server gives each client
 * a process and ends itself if one ends badly, so a process that hangs or crashes has to end well. */
#ifndef BOARD_GUARD_H
#define BOARD_GUARD_H

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static void guard_end(int signal_number)
{
    static const char crash[] = "tunesmith: the library crashed, this client's process ends\n";
    static const char late[] = "tunesmith: the library takes too long, this client's process ends\n";
    const char *text = signal_number == SIGALRM ? late : crash;
    ssize_t written = write(2, text, strlen(text));
    (void)written;
    _exit(0);
}

/* Seconds from now until the process ends, unless this is called again; 0: no longer. */
static inline void guard_for(int64_t seconds)
{
    static const int deadly[] = {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    size_t i;
    for (i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        signal(deadly[i], guard_end);
    }
    alarm((unsigned)seconds);
}

#endif
