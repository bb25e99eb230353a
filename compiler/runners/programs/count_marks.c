/* A plugin of QEMU's code generator: writes how many instructions the emulated machine had executed
 * each time that it came to the function `tunesmith_mark`, one number a line. */
#include "qemu_plugin.h"

#define MOST_MARKS 64

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *insn);

static uint64_t executed, marks[MOST_MARKS];
static size_t marked;

static void on_execute(unsigned int cpu, void *data)
{
    (void)cpu;
    executed += (uintptr_t)data;
}

static void on_mark(unsigned int cpu, void *data)
{
    on_execute(cpu, data);
    if (marked < MOST_MARKS) {
        marks[marked++] = executed;
    }
}

/* A block that is jumped to begins at its target, and the function is one block. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    const char *symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
    int is_mark = symbol != NULL && strcmp(symbol, "tunesmith_mark") == 0;
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, is_mark ? on_mark : on_execute, QEMU_PLUGIN_CB_NO_REGS,
                                         (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

static void write_counts(qemu_plugin_id_t id, void *data)
{
    FILE *file = fopen(out, "w");
    size_t i;
    (void)id;
    (void)data;
    if (file == NULL) {
        return;
    }
    for (i = 0; i < marked; i++) {
        fprintf(file, "%llu\n", (unsigned long long)marks[i]);
    }
    fclose(file);
}
