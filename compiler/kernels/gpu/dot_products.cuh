/* Four products of bytes, of either sign, added to a sum in 32 bits: dp4a, from sm_61 on. */
#define TUNESMITH_DEVICE static __device__ __forceinline__

#ifndef TUNESMITH_OWN_DP4A /* a test computes what the instruction does */
template <bool left_is_signed, bool right_is_signed>
TUNESMITH_DEVICE int tunesmith_dp4a(unsigned left, unsigned right, int sum) {
  if constexpr (left_is_signed && right_is_signed)
    asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(left), "r"(right));
  else if constexpr (right_is_signed)
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(left), "r"(right));
  else if constexpr (left_is_signed)
    asm("dp4a.s32.u32 %0, %1, %2, %0;" : "+r"(sum) : "r"(left), "r"(right));
  else
    asm("dp4a.u32.u32 %0, %1, %2, %0;" : "+r"(sum) : "r"(left), "r"(right));
  return sum;
}
#endif

/* Of two words: data of the sign in the name, int8 weights. */
TUNESMITH_DEVICE int tunesmith_dp4a_s8(int data, int weights) {
  return tunesmith_dp4a<true, true>((unsigned)data, (unsigned)weights, 0);
}

TUNESMITH_DEVICE int tunesmith_dp4a_u8(int data, int weights) {
  return tunesmith_dp4a<false, true>((unsigned)data, (unsigned)weights, 0);
}

/* The thread's rows x columns sums += four products each. Operands lie along the sum; each word is
 * read once.
 *
 * sums_stride: from a row of sums to the next; left_stride, right_stride: from a row or column of
 * the thread to its next; all in elements.
 */
template <typename Left, typename Right>
TUNESMITH_DEVICE void tunesmith_dot(int rows, int columns, int *sums, int sums_stride,
                                    const Left *left, int left_stride, const Right *right,
                                    int right_stride) {
  unsigned of_right[8];
#pragma unroll
  for (int j = 0; j < columns; ++j)
    of_right[j] = *(const unsigned *)(right + j * right_stride);
#pragma unroll
  for (int i = 0; i < rows; ++i) {
    const unsigned of_left = *(const unsigned *)(left + i * left_stride);
#pragma unroll
    for (int j = 0; j < columns; ++j) {
      int *sum = sums + i * sums_stride + j;
      *sum = tunesmith_dp4a<(Left)-1 < 0, (Right)-1 < 0>(of_left, of_right[j], *sum);
    }
  }
}
