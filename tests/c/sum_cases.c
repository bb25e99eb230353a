/* sum_cases CASES SUMS: calls one of the runtime's functions that sum products of small integers,
 * once for each case, and writes the memory of all sums.
 *
 * A case is, in words of 32 bits: bytes of sums, of inputs, of weights; NUMBERS arguments; then
 * what is in these bytes. Each operand lies at the end of its pages, and what is behind cannot be
 * read or written: an access beyond it ends the program. */
#define _DEFAULT_SOURCE
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void call_function(int32_t *sums, const void *in, const void *weights, const int32_t *n);

typedef struct operand {
    unsigned char *pages, *at;
    size_t page_bytes, bytes;
} operand;

static void stop(const char *what)
{
    fprintf(stderr, "sum_cases: %s\n", what);
    exit(2);
}

static operand take(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    operand made;
    made.bytes = bytes;
    made.page_bytes = (bytes + page - 1) / page * page + page;
    made.pages = mmap(NULL, made.page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
    if (made.pages == MAP_FAILED) {
        stop("no memory");
    }
    made.at = made.pages + made.page_bytes - page - bytes;
    if (mprotect(made.pages + made.page_bytes - page, page, PROT_NONE) != 0) {
        stop("mprotect");
    }
    return made;
}

static void fill(const operand *to, FILE *from)
{
    if (fread(to->at, 1, to->bytes, from) != to->bytes) {
        stop("a case is too short");
    }
}

int main(int count, char **words)
{
    int32_t head[3 + NUMBERS];
    FILE *cases = count == 3 ? fopen(words[1], "rb") : NULL;
    FILE *results = count == 3 ? fopen(words[2], "wb") : NULL;
    if (cases == NULL || results == NULL) {
        stop("needs two files");
    }
    while (fread(head, sizeof head[0], 3 + NUMBERS, cases) == 3 + NUMBERS) {
        operand operands[3];
        int i;
        for (i = 0; i < 3; i++) {
            operands[i] = take((size_t)head[i]);
            fill(&operands[i], cases);
        }
        call_function((int32_t *)operands[0].at, operands[1].at, operands[2].at, head + 3);
        fwrite(operands[0].at, 1, operands[0].bytes, results);
        for (i = 0; i < 3; i++) {
            munmap(operands[i].pages, operands[i].page_bytes);
        }
    }
    return fclose(results) == 0 ? 0 : 2;
}
