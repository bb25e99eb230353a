/* What our plugins use of QEMU's include/qemu/qemu-plugin.h, which distributions do not package.
 * A plugin writes what it counted to the file that its argument `out` names. */
#ifndef TUNESMITH_QEMU_PLUGIN_H
#define TUNESMITH_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb; /* a block of instructions that are translated together */
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
    void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
    void (*callback)(unsigned int, void *), enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
    void (*callback)(qemu_plugin_id_t, void *), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

static char out[4096];

/* Reads the one argument `out=FILE`; returns whether it is there. */
static int read_arguments(int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || strlen(argv[0]) >= sizeof out) {
        return 0;
    }
    strcpy(out, argv[0] + 4);
    return 1;
}

/* What each plugin does with a block when it is translated, and when the emulator ends. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
static void write_counts(qemu_plugin_id_t id, void *data);

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    if (!read_arguments(argc, argv)) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, write_counts, NULL);
    return 0;
}

#endif
