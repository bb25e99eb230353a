/* Exact sums of products of small integers by products of tiles (Intel AMX-INT8).
 *
 * sums[column][block][lane] = sum over y, x, k of in[column + y + x + 4 chunk + k] *
 *                                                 weights[block][y][x][chunk][lane][k]
 *
 * Inputs are int8 or uint8, weights int8; a block's 16 lanes lie together in sums. One instruction
 * multiplies a tile of up to 16 columns x 4 `step` inputs by one of `step` chunks x 16 lanes and
 * adds the products to a tile of sums; `step`, at most 16, divides the chunks. Both operands are
 * loaded as they lie in memory. Two tiles of columns x two blocks of sums stay in tile registers
 * over all that is summed; of four other registers two are inputs, two weights.
 *
 * Tiles of columns are of one height, so that all shapes are set once a call: they overlap where
 * it does not divide the columns, and a sum that is computed twice is stored twice. A thread has
 * no tile state between calls. */
#if defined(__linux__)
#define _DEFAULT_SOURCE 1
#endif
#include "runtime.h"

#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ROWS 16      /* of a tile, at most */
#define ROW_BYTES 64 /* 16 sums, or a chunk of a block's weights */

/* Strides in elements, in the order of the arguments that the kernels pass. */
typedef struct nest {
    int32_t blocks, taps_y, taps_x, chunks, step;
    int32_t sums_column, sums_block, in_column, in_y, in_x, weight_block;
} nest;

/* As LDTILECFG reads it (Intel 64 and IA-32 Software Developer's Manual, volume 2A). */
typedef struct shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} shapes;

/* Registers: sums 0 to 3, of the second columns 2 and 3, of the second block 1 and 3; inputs 4 and
 * 5; weights 6 and 7. */
static void set_shapes(int32_t columns, int32_t step)
{
    shapes set = {0};
    int i;
    set.palette = 1;
    for (i = 0; i < 8; i++) {
        set.rows[i] = (uint8_t)(i < 6 ? columns : step);
        set.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? 4 * step : ROW_BYTES);
    }
    /* GCC's intrinsic says that it reads eight bytes only. */
    __asm__ volatile("" : : "r"(&set) : "memory");
    _tile_loadconfig(&set);
}

#define MULTIPLY(sums, in, weights)                                                              \
    if (is_signed) {                                                                             \
        _tile_dpbssd(sums, in, weights);                                                         \
    } else {                                                                                     \
        _tile_dpbusd(sums, in, weights);                                                         \
    }

/* `second` is where the second columns' inputs begin. `columns`, 1 or 2 tiles of them, `blocks`, 1
 * or 2, and `is_signed` are constants wherever this is called: what they leave out is no code. */
ALWAYS_INLINE void tiles(int32_t *sums, int32_t *second_sums, const int8_t *in, int64_t second,
                         const int8_t *weights, const nest *n, const int columns,
                         const int blocks, const int is_signed)
{
    const int64_t in_row = n->in_column, sums_row = (int64_t)n->sums_column * 4;
    const int32_t steps = n->chunks / n->step;
    int32_t y, x, i;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (y = 0; y < n->taps_y; y++) {
        for (x = 0; x < n->taps_x; x++) {
            const int8_t *at = in + (int64_t)y * n->in_y + (int64_t)x * n->in_x;
            for (i = 0; i < steps; i++) {
                _tile_loadd(6, weights, ROW_BYTES);
                _tile_loadd(4, at, in_row);
                MULTIPLY(0, 4, 6)
                if (columns > 1) {
                    _tile_loadd(5, at + second, in_row);
                    MULTIPLY(2, 5, 6)
                }
                if (blocks > 1) {
                    _tile_loadd(7, weights + n->weight_block, ROW_BYTES);
                    MULTIPLY(1, 4, 7)
                }
                if (columns > 1 && blocks > 1) {
                    MULTIPLY(3, 5, 7)
                }
                at += 4 * n->step;
                weights += ROW_BYTES * n->step;
            }
        }
    }
    _tile_stored(0, sums, sums_row);
    if (blocks > 1) {
        _tile_stored(1, sums + n->sums_block, sums_row);
    }
    if (columns > 1) {
        _tile_stored(2, second_sums, sums_row);
    }
    if (columns > 1 && blocks > 1) {
        _tile_stored(3, second_sums + n->sums_block, sums_row);
    }
}

/* All columns of one or two blocks, whose weights so stay in the first cache. */
ALWAYS_INLINE void all_columns(int32_t *sums, const int8_t *in, const int8_t *weights,
                               const nest *n, int32_t columns, int32_t height, const int blocks,
                               const int is_signed)
{
    int32_t begin = 0;
    while (begin < columns) {
        /* The last tiles begin early enough to be whole. */
        const int32_t first = begin < columns - height ? begin : columns - height;
        const int32_t next = first + height;
        const int32_t other = next < columns - height ? next : columns - height;
        int32_t *to = sums + (int64_t)first * n->sums_column;
        int32_t *second_to = sums + (int64_t)other * n->sums_column;
        const int8_t *from = in + (int64_t)first * n->in_column;
        const int64_t second = (int64_t)(other - first) * n->in_column;
        if (next < columns) {
            tiles(to, second_to, from, second, weights, n, 2, blocks, is_signed);
        } else {
            tiles(to, second_to, from, second, weights, n, 1, blocks, is_signed);
        }
        begin = next + height;
    }
}

ALWAYS_INLINE void all_blocks(int32_t *sums, const int8_t *in, const int8_t *weights, nest n,
                              int32_t columns, const int is_signed)
{
    const int32_t count = (columns + ROWS - 1) / ROWS, height = (columns + count - 1) / count;
    int32_t block = 0;
    set_shapes(height, n.step);
    for (; block + 1 < n.blocks; block += 2) {
        all_columns(sums, in, weights, &n, columns, height, 2, is_signed);
        sums += 2 * n.sums_block;
        weights += 2 * (int64_t)n.weight_block;
    }
    if (block < n.blocks) {
        all_columns(sums, in, weights, &n, columns, height, 1, is_signed);
    }
    _tile_release();
}

TS_HIDDEN void TS_NAME(tunesmith_amx_sums)(
    int32_t *sums, const int8_t *in, const int8_t *weights, int32_t columns, int32_t blocks,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t step, int32_t sums_column,
    int32_t sums_block, int32_t in_column, int32_t in_y, int32_t in_x, int32_t weight_block)
{
    const nest n = {blocks,     taps_y,    taps_x, chunks, step,        sums_column,
                    sums_block, in_column, in_y,   in_x,   weight_block};
    all_blocks(sums, in, weights, n, columns, 1);
}

TS_HIDDEN void TS_NAME(tunesmith_amx_unsigned_sums)(
    int32_t *sums, const uint8_t *in, const int8_t *weights, int32_t columns, int32_t blocks,
    int32_t taps_y, int32_t taps_x, int32_t chunks, int32_t step, int32_t sums_column,
    int32_t sums_block, int32_t in_column, int32_t in_y, int32_t in_x, int32_t weight_block)
{
    const nest n = {blocks,     taps_y,    taps_x, chunks, step,        sums_column,
                    sums_block, in_column, in_y,   in_x,   weight_block};
    all_blocks(sums, (const int8_t *)in, weights, n, columns, 0);
}

#if defined(__linux__)
/* Linux gives tile registers to a process on request only (Documentation/arch/x86/xstate.rst): asked
 * for when the library is loaded, for a program that runs the model without a session. The check of
 * the processor says whether they were given. */
__attribute__((constructor)) static void ask_for_tiles(void)
{
    (void)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
}
#endif
