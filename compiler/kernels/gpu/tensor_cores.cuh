/* A warp multiplies by its tensor cores: 16 rows x 8 columns, sums in float32, of bytes in int32.
 *
 * Lane 4 * g + t of the warp has the sums of rows g, g + 8 and columns 2 t, 2 t + 1 of the
 * instruction's tile, and gives it factors of those rows and of column g (PTX ISA, "Matrix
 * Fragments for mma.m16n8k8", "... k16" and "... k32"). Which row of the matrix each of them is, is free: the
 * instruction's rows g and g + 8 are two rows of lane (g, any t) here, its columns 2 t and 2 t + 1
 * two columns of lane (any g, t).
 */
#define TUNESMITH_DEVICE static __device__ __forceinline__

#ifndef TUNESMITH_OWN_MMA /* a test computes what the instructions do */
/* To the nearest number of 10 bits of mantissa, ties away from zero. */
TUNESMITH_DEVICE float tunesmith_tf32(float value) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return __uint_as_float(bits);
}

TUNESMITH_DEVICE void tunesmith_mma_m16n8k8_tf32(float *sums, const unsigned *left,
                                                 const unsigned *right) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}

TUNESMITH_DEVICE void tunesmith_mma_m16n8k16_f16(float *sums, const unsigned *left,
                                                 const unsigned *right) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#else
  for (int half = 0; half < 2; ++half)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[2 * half]), "r"(left[2 * half + 1]), "r"(right[half]));
#endif
}

/* Bytes of either sign; a sum that leaves 32 bits wraps around. */
#define TUNESMITH_OF_SIGNS(Left, Right, MMA) \
  if constexpr ((Left)-1 < 0 && (Right)-1 < 0) \
    MMA(s8, s8); \
  else if constexpr ((Right)-1 < 0) \
    MMA(u8, s8); \
  else if constexpr ((Left)-1 < 0) \
    MMA(s8, u8); \
  else \
    MMA(u8, u8)
#define TUNESMITH_M16N8K32(left_type, right_type) \
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." #left_type "." #right_type ".s32 " \
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3]) \
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]))
#define TUNESMITH_M8N8K16(left_type, right_type) \
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." #left_type "." #right_type ".s32 " \
      "{%0, %1}, {%2}, {%3}, {%0, %1};" \
      : "+r"(sums[0]), "+r"(sums[1]) : "r"(left), "r"(right))

template <typename Left, typename Right>
TUNESMITH_DEVICE void tunesmith_mma_m16n8k32(int *sums, const unsigned *left,
                                             const unsigned *right) {
  TUNESMITH_OF_SIGNS(Left, Right, TUNESMITH_M16N8K32);
}

template <typename Left, typename Right>
TUNESMITH_DEVICE void tunesmith_mma_m8n8k16(int *sums, unsigned left, unsigned right) {
  TUNESMITH_OF_SIGNS(Left, Right, TUNESMITH_M8N8K16);
}
#endif

/* 16 rows, 32 steps; sm_75 does 8 and 16 at once. */
template <typename Left, typename Right>
TUNESMITH_DEVICE void tunesmith_mma_bytes(int *sums, const unsigned *left, const unsigned *right) {
#if __CUDA_ARCH__ >= 800
  tunesmith_mma_m16n8k32<Left, Right>(sums, left, right);
#else
  for (int part = 0; part < 4; ++part)
    tunesmith_mma_m8n8k16<Left, Right>(sums + part % 2 * 2, left[part], right[part / 2]);
#endif
}

/* The lane's rows x columns sums += products of its rows and columns over 8 words of each: 8 steps
 * of TF32, 16 of fp16, 32 bytes. Operands lie along the sum; `left` and `right` are the lane's first row and
 * column. Each is loaded once, for all instructions: rows and columns are even, at most 8.
 *
 * sums_stride: from a row of sums to the next; left_stride, right_stride: from a row or column of
 * the lane to its next; lane_stride: from a column to that of the next lane; all in elements.
 */
template <typename Sum, typename Left, typename Right>
TUNESMITH_DEVICE void tunesmith_product(int rows, int columns, Sum *sums, int sums_stride,
                                        const Left *left, int left_stride, const Right *right,
                                        int right_stride, int lane_stride) {
  const int g = (int)threadIdx.x >> 2, t = (int)threadIdx.x & 3;
  const int word = 4 / (int)sizeof(Left);
  const Right *column = right + ((g >> 1) - t) * lane_stride + (g & 1) * right_stride;
  unsigned of_left[4][4], of_right[4][2];
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const int step = (t + 4 * part) * word;
#pragma unroll
    for (int i = 0; i < rows; ++i)
      of_left[i / 2][2 * part + i % 2] = *(const unsigned *)(left + i * left_stride + step);
#pragma unroll
    for (int j = 0; j < columns; j += 2)
      of_right[j / 2][part] = *(const unsigned *)(column + j * right_stride + step);
  }
#pragma unroll
  for (int i = 0; i < rows; i += 2) {
#pragma unroll
    for (int j = 0; j < columns; j += 2) {
      Sum *first = sums + i * sums_stride + j, *second = first + sums_stride;
      Sum mine[4] = {first[0], first[1], second[0], second[1]};
      if constexpr (sizeof(Left) == 4)
        tunesmith_mma_m16n8k8_tf32(mine, of_left[i / 2], of_right[j / 2]);
      else if constexpr (sizeof(Left) == 2)
        tunesmith_mma_m16n8k16_f16(mine, of_left[i / 2], of_right[j / 2]);
      else
        tunesmith_mma_bytes<Left, Right>(mine, of_left[i / 2], of_right[j / 2]);
      first[0] = mine[0];
      first[1] = mine[1];
      second[0] = mine[2];
      second[1] = mine[3];
    }
  }
}
