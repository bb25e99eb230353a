/* CUDA C++ on a processor, for tests: each thread of a block is a context of its own, which runs
 * until a barrier and then lets the others run up to it. Blocks run one after another. What tensor
 * cores do is computed from the operands of all lanes of a warp. Included before the source. */
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static /* of one block at a time */
#define CUDART_INF_F INFINITY
#define alignas(bytes)    /* stands between declaration specifiers, where only nvcc takes it */

typedef unsigned char uchar; /* as in what TVM puts before its kernels */

struct Index3 {
  int x, y, z;
};
static Index3 threadIdx, blockIdx, blockDim, gridDim;

template <typename T> static T max(T one, T other) { return one > other ? one : other; }
template <typename T> static T min(T one, T other) { return one < other ? one : other; }

namespace host {
enum Place { RUNNING, BARRIER, WARP, DONE };
struct Thread {
  ucontext_t context;
  Index3 index;
  Place place;
  int exchanges;
  std::vector<char> stack;
};
static ucontext_t scheduler;
static Thread *now;
static std::function<void()> body;

static void wait_at(Place place) {
  now->place = place;
  swapcontext(&now->context, &scheduler);
}

static void start() {
  body();
  wait_at(DONE);
}

/* All threads wait at the same place, or the GPU would hang, or compute something else. */
static void run_block(std::vector<Thread> &threads) {
  for (Thread &thread : threads) {
    thread.place = RUNNING;
    thread.exchanges = 0;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.data();
    thread.context.uc_stack.ss_size = thread.stack.size();
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, start, 0);
  }
  do {
    for (Thread &thread : threads) {
      now = &thread;
      threadIdx = thread.index;
      swapcontext(&scheduler, &thread.context);
    }
    for (Thread &thread : threads)
      if (thread.place != threads[0].place) {
        fprintf(stderr, "threads of a block wait at different places\n");
        abort();
      }
  } while (threads[0].place != DONE);
}

static void run_grid(const int *grid, const int *block, std::function<void()> kernel) {
  body = std::move(kernel);
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  std::vector<Thread> threads(block[0] * block[1] * block[2]);
  for (size_t i = 0; i < threads.size(); ++i) {
    int x = (int)i % block[0], rest = (int)i / block[0];
    threads[i].index = {x, rest % block[1], rest / block[1]};
    threads[i].stack.resize(65536);
  }
  for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) run_block(threads);
}

template <typename... Types, size_t... I>
static void run(void (*kernel)(Types...), const int *grid, const int *block, void **arguments,
                std::index_sequence<I...>) {
  run_grid(grid, block, [=] { kernel((Types)arguments[I]...); });
}

template <typename... Types>
static void run(void (*kernel)(Types...), const int *grid, const int *block, void **arguments) {
  run(kernel, grid, block, arguments, std::index_sequence_for<Types...>());
}

/* What each lane of a warp holds in its registers, seen by all of them. The next exchange has a
 * place of its own: some lanes begin it before others have read this one. */
struct Registers {
  unsigned left[4], right[2];
};
static Registers held[2][32][32];

static const Registers *exchange(const unsigned *left, const unsigned *right) {
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  Registers *warp = held[now->exchanges++ % 2][thread / 32];
  memcpy(warp[thread % 32].left, left, sizeof warp->left);
  memcpy(warp[thread % 32].right, right, sizeof warp->right);
  wait_at(WARP);
  return warp;
}

static int lane() { return ((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x) % 32; }

static float tf32(unsigned word) { /* the instruction does not read the last 13 bits */
  unsigned bits = word & ~0x1fffu;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static float fp16(unsigned bits) {
  const unsigned exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp((float)mantissa, -24);
  return sign * std::ldexp((float)(mantissa + 1024), (int)exponent - 25);
}

/* To the nearest, ties to even, as a conversion of CUDA does. */
static unsigned to_fp16(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  const unsigned sign = bits >> 16 & 0x8000;
  if (std::isnan(value)) return sign | 0x7e00;
  const double size = std::fabs((double)value);
  if (size >= 65520.0) return sign | 0x7c00;
  if (size < std::ldexp(1.0, -14)) return sign | (unsigned)std::nearbyint(std::ldexp(size, 24));
  int exponent;
  std::frexp(size, &exponent); /* size in [2 ** (exponent - 1), 2 ** exponent) */
  const unsigned mantissa = (unsigned)std::nearbyint(std::ldexp(size, 11 - exponent));
  return sign | (((unsigned)(exponent + 14) << 10) + mantissa - 1024); /* may carry */
}
} // namespace host

/* 16-bit floating point as generated kernels use it: conversions only. */
struct half {
  unsigned short bits;
  half() = default;
  explicit half(float value) : bits((unsigned short)host::to_fp16(value)) {}
  explicit operator float() const { return host::fp16(bits); }
};

static void __syncthreads() { host::wait_at(host::BARRIER); }

#define TUNESMITH_OWN_MMA
static inline float tunesmith_tf32(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  bits = (bits + 0x1000u) & ~0x1fffu; /* ties away from zero: the sign is a bit of its own */
  memcpy(&value, &bits, 4);
  return value;
}

/* Fragments as the PTX ISA 9.0 numbers them, section "Matrix Fragments for mma.m16n8k8". */
static inline void tunesmith_mma_m16n8k8_tf32(float *sums, const unsigned *left,
                                              const unsigned *right) {
  const host::Registers *warp = host::exchange(left, right);
  const int g = host::lane() / 4, t = host::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * t + i % 2;
    for (int k = 0; k < 8; ++k) {
      const unsigned a = warp[row % 8 * 4 + k % 4].left[row / 8 + k / 4 * 2];
      const unsigned b = warp[column * 4 + k % 4].right[k / 4];
      sums[i] += host::tf32(a) * host::tf32(b);
    }
  }
}

/* Likewise "... for mma.m16n8k16": two numbers in a register, the first in its lower half. */
static inline void tunesmith_mma_m16n8k16_f16(float *sums, const unsigned *left,
                                              const unsigned *right) {
  const host::Registers *warp = host::exchange(left, right);
  const int g = host::lane() / 4, t = host::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * t + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int of_lane = k % 8 / 2, shift = k % 2 * 16;
      const unsigned a = warp[row % 8 * 4 + of_lane].left[row / 8 + k / 8 * 2] >> shift & 0xffff;
      const unsigned b = warp[column * 4 + of_lane].right[k / 8] >> shift & 0xffff;
      sums[i] += host::fp16(a) * host::fp16(b);
    }
  }
}

template <typename T> static int byte_of(unsigned word, int place) {
  return (T)(word >> 8 * place & 0xff);
}

/* Likewise "... for mma.m16n8k32": four bytes in a register, the first in its lowest. */
template <typename Left, typename Right>
static inline void tunesmith_mma_m16n8k32(int *sums, const unsigned *left, const unsigned *right) {
  const host::Registers *warp = host::exchange(left, right);
  const int g = host::lane() / 4, t = host::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * t + i % 2;
    for (int k = 0; k < 32; ++k) {
      const int of_lane = k % 16 / 4;
      const unsigned a = warp[row % 8 * 4 + of_lane].left[row / 8 + k / 16 * 2];
      const unsigned b = warp[column * 4 + of_lane].right[k / 16];
      sums[i] += byte_of<Left>(a, k % 4) * byte_of<Right>(b, k % 4);
    }
  }
}

/* Likewise "... for mma.m8n8k16": a quarter of it. */
template <typename Left, typename Right>
static inline void tunesmith_mma_m8n8k16(int *sums, unsigned left, unsigned right) {
  const unsigned of_left[4] = {left}, of_right[2] = {right};
  const host::Registers *warp = host::exchange(of_left, of_right);
  const int g = host::lane() / 4, t = host::lane() % 4;
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 16; ++k)
      sums[i] += byte_of<Left>(warp[g * 4 + k / 4].left[0], k % 4) *
                 byte_of<Right>(warp[(2 * t + i) * 4 + k / 4].right[0], k % 4);
}

#define TUNESMITH_OWN_DP4A
template <bool left_is_signed, bool right_is_signed>
static inline int tunesmith_dp4a(unsigned left, unsigned right, int sum) {
  for (int place = 0; place < 4; ++place) {
    const int one = left_is_signed ? byte_of<int8_t>(left, place) : byte_of<uint8_t>(left, place);
    const int other =
        right_is_signed ? byte_of<int8_t>(right, place) : byte_of<uint8_t>(right, place);
    sum += one * other;
  }
  return sum;
}
