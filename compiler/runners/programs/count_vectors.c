/* A plugin of QEMU's code generator for AArch64: counts all instructions, those that use a z
 * register (SVE) and those that use a register as a vector of known length (Advanced SIMD).
 * What counts as which, from the words of the Arm ARM (DDI 0487), chapter C4, "A64 instruction set
 * encoding": see runners/vector_counter.py. */
#include "qemu_plugin.h"

#include <stdlib.h>

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

typedef struct counts {
    uint64_t all, scalable, fixed;
} counts;

static counts executed;

static uint32_t bits(uint32_t word, int high, int low)
{
    return word >> low & ((1u << (high - low + 1)) - 1);
}

/* SVE (bits 28 to 25 are 0010), without what reads and writes only predicates and numbers. */
static int uses_z(uint32_t word)
{
    uint32_t top = bits(word, 31, 24), b21 = bits(word, 21, 21);
    if (bits(word, 28, 25) != 2) {
        return 0;
    }
    switch (top) {
    case 0x04: /* addvl, addpl, rdvl; cntw, incw, sqincw ... of a number */
        return !(b21 && (bits(word, 15, 12) == 5 || bits(word, 15, 13) == 7));
    case 0x05: /* zip1, uzp1, trn1, rev, punpklo ... of predicates */
        return !(b21 && bits(word, 15, 13) == 2);
    case 0x25: /* z: comparisons with a number, incp, and all with a wide number (dup, add ...) */
        if (!b21) {
            return !bits(word, 14, 14);
        }
        return bits(word, 15, 14) == 3 || (bits(word, 15, 11) == 16 && bits(word, 20, 19) == 1);
    case 0x84: /* prefetch of a number and a number */
        return !(bits(word, 22, 21) == 0 && bits(word, 15, 13) == 6 && !bits(word, 4, 4));
    case 0x85: /* ldr of a predicate; prefetch */
        if (bits(word, 23, 22) == 2 && bits(word, 15, 13) == 0) {
            return 0;
        }
        if (bits(word, 23, 22) == 3 && !bits(word, 15, 15) && !bits(word, 4, 4)) {
            return 0;
        }
        return !(bits(word, 22, 21) == 0 && bits(word, 15, 13) == 6 && !bits(word, 4, 4));
    case 0xe5: /* str of a predicate */
        return !(bits(word, 23, 22) == 2 && bits(word, 15, 13) == 0);
    default:
        return 1;
    }
}

/* Advanced SIMD: vector forms of arithmetic; loads and stores of structures and of q registers. */
static int uses_fixed_vector(uint32_t word)
{
    if (bits(word, 27, 25) == 7) { /* data processing: bit 28 says scalar */
        return !bits(word, 31, 31) && !bits(word, 28, 28);
    }
    if (bits(word, 27, 25) != 6) {
        return 0; /* no load or store of such a register */
    }
    switch (bits(word, 29, 27)) {
    case 1: /* ld1 to st4, ld1r ... */
        return !bits(word, 31, 31);
    case 3: /* of a constant */
    case 5: /* of a pair */
        return bits(word, 31, 30) == 2;
    default:
        return bits(word, 31, 30) == 0 && bits(word, 23, 23);
    }
}

static void on_execute(unsigned int cpu, void *data)
{
    const counts *block = data;
    (void)cpu;
    executed.all += block->all;
    executed.scalable += block->scalable;
    executed.fixed += block->fixed;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t i, count = qemu_plugin_tb_n_insns(tb);
    counts *block = calloc(1, sizeof *block); /* as long as QEMU runs: it may run the block again */
    (void)id;
    if (block == NULL) {
        abort();
    }
    block->all = count;
    for (i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        block->scalable += (uint64_t)uses_z(word);
        block->fixed += (uint64_t)uses_fixed_vector(word);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void write_counts(qemu_plugin_id_t id, void *data)
{
    FILE *file = fopen(out, "w");
    (void)id;
    (void)data;
    if (file != NULL) {
        fprintf(file, "%llu %llu %llu\n", (unsigned long long)executed.all,
                (unsigned long long)executed.scalable, (unsigned long long)executed.fixed);
        fclose(file);
    }
}
