/* Runs a model on sets of inputs that lie in memory, on a PC without a system; outputs leave it
 * byte by byte through the port that Bochs prints. Linked with the model's static library. */
#include "tunesmith.h"

#define MOST_TENSORS 256
#define LINE 64

typedef struct {
    uint32_t sets;
    unsigned char tensors[]; /* for each set the inputs in the model's order, each from a LINE on */
} given;

extern const tunesmith_model *MODEL(void); /* defined on the command line */

extern const given end_of_program; /* read from the disk behind the program */

static unsigned char *next = (unsigned char *)FREE_MEMORY;

static void print(const void *bytes, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        __asm__ volatile("outb %0, %1" : : "a"(((const char *)bytes)[i]), "Nd"((uint16_t)0xe9));
    }
}

static void *allocated(size_t bytes)
{
    void *block = next;
    next += (bytes + LINE - 1) / LINE * LINE;
    return block;
}

__attribute__((section(".start"))) void start(void)
{
    const tunesmith_model *model = MODEL();
    const unsigned char *from = (const unsigned char *)&end_of_program + LINE;
    const void *in[MOST_TENSORS];
    void *out[MOST_TENSORS], *regions[MOST_TENSORS];
    uint32_t set, sets = end_of_program.sets;
    unsigned char error = 0;
    int32_t i;
    for (i = 0; i < model->output_count; i++) {
        out[i] = allocated(model->outputs[i].size_bytes);
    }
    for (i = 0; i < model->region_count; i++) {
        regions[i] = allocated(model->regions[i].size_bytes);
    }
    print("<outputs>", 9);
    for (set = 0; set < sets && error == 0; set++) {
        for (i = 0; i < model->input_count; i++) {
            in[i] = from;
            from += (model->inputs[i].size_bytes + LINE - 1) / LINE * LINE;
        }
        error = (unsigned char)model->run(in, out, regions);
        print(&error, 1);
        for (i = 0; i < model->output_count && error == 0; i++) {
            print(out[i], model->outputs[i].size_bytes);
        }
    }
}

/* What code by LLVM and by C compilers calls. */
void *memcpy(void *to, const void *from, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        ((volatile char *)to)[i] = ((const char *)from)[i];
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        ((volatile char *)to)[i] = (char)value;
    }
    return to;
}
