/* The tile instructions of Intel's AMX-INT8 in C, in the place of the compiler's own header, so that
 * `amx_sums.c` runs on processors without them. By the operations of the Intel 64 and IA-32 Software
 * Developer's Manual, volume 2; what is an exception there ends the program. Every thread has
 * registers of its own. */
#ifndef EMULATED_AMX_H
#define EMULATED_AMX_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct emulated_tile {
    int rows, row_bytes;
    uint8_t bytes[16][64];
} emulated_tile;

static __thread struct {
    int is_set;
    emulated_tile tiles[8];
} emulated_amx;

static void emulated_need(int holds)
{
    if (!holds) {
        abort();
    }
}

/* A register that the configuration has. */
static emulated_tile *emulated_register(int number)
{
    emulated_tile *tile = &emulated_amx.tiles[number];
    emulated_need(emulated_amx.is_set && tile->rows > 0 && tile->row_bytes > 0);
    return tile;
}

static void _tile_loadconfig(const void *from)
{
    const uint8_t *bytes = from;
    int i;
    emulated_need(bytes[0] == 1 && bytes[1] == 0);
    memset(&emulated_amx, 0, sizeof emulated_amx);
    for (i = 2; i < 64; i++) { /* neither reserved bytes nor more than eight registers */
        emulated_need(bytes[i] == 0 || (i >= 16 && i < 32) || (i >= 48 && i < 56));
    }
    for (i = 0; i < 8; i++) {
        emulated_tile *tile = &emulated_amx.tiles[i];
        tile->row_bytes = bytes[16 + 2 * i] + 256 * bytes[17 + 2 * i];
        tile->rows = bytes[48 + i];
        emulated_need(tile->row_bytes <= 64 && tile->rows <= 16);
        emulated_need((tile->row_bytes == 0) == (tile->rows == 0));
    }
    emulated_amx.is_set = 1;
}

static void _tile_release(void) { memset(&emulated_amx, 0, sizeof emulated_amx); }

static void _tile_zero(int number)
{
    emulated_tile *tile = emulated_register(number);
    memset(tile->bytes, 0, sizeof tile->bytes);
}

static void _tile_loadd(int number, const void *from, int64_t stride)
{
    emulated_tile *tile = emulated_register(number);
    int row;
    memset(tile->bytes, 0, sizeof tile->bytes);
    for (row = 0; row < tile->rows; row++) {
        memcpy(tile->bytes[row], (const char *)from + row * stride, (size_t)tile->row_bytes);
    }
}

static void _tile_stored(int number, void *to, int64_t stride)
{
    const emulated_tile *tile = emulated_register(number);
    int row;
    for (row = 0; row < tile->rows; row++) {
        memcpy((char *)to + row * stride, tile->bytes[row], (size_t)tile->row_bytes);
    }
}

static void emulated_multiply(int sums, int left, int right, int is_signed)
{
    emulated_tile *c = emulated_register(sums);
    const emulated_tile *a = emulated_register(left), *b = emulated_register(right);
    int m, k, n, i;
    emulated_need(sums != left && sums != right && left != right);
    emulated_need(c->rows == a->rows && c->row_bytes == b->row_bytes);
    emulated_need(a->row_bytes == 4 * b->rows && c->row_bytes % 4 == 0);
    for (m = 0; m < c->rows; m++) {
        for (n = 0; n < c->row_bytes / 4; n++) {
            uint32_t sum; /* which wraps around, as the instruction does */
            memcpy(&sum, &c->bytes[m][4 * n], sizeof sum);
            for (k = 0; k < b->rows; k++) {
                for (i = 0; i < 4; i++) {
                    const uint8_t byte = a->bytes[m][4 * k + i];
                    const int32_t one = is_signed ? (int8_t)byte : byte;
                    sum += (uint32_t)(one * (int8_t)b->bytes[k][4 * n + i]);
                }
            }
            memcpy(&c->bytes[m][4 * n], &sum, sizeof sum);
        }
    }
}

static void _tile_dpbssd(int sums, int left, int right)
{
    emulated_multiply(sums, left, right, 1);
}

static void _tile_dpbusd(int sums, int left, int right)
{
    emulated_multiply(sums, left, right, 0);
}

#endif
