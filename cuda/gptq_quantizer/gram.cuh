// h = keep * h + scale * x^T x on tensor cores, for a strip of columns. Only tiles on and above the
// diagonal are computed, half of the work, and written to both sides.
#pragma once

#include "../common/async_copy.cuh"
#include "../common/convert.cuh"
#include "../common/launch.h"
#include "../common/mma.cuh"
#include "triangle.cuh"

namespace fewbit::cuda::gptq_quantizer {

template <class T>
struct Gram {
  const T* x;  // [rows, cols]
  float* h;    // [cols, cols]
  int64_t rows, cols;
  float keep, scale;
  int64_t begin = 0, end = 0;  // columns of h to be computed, multiples of 128 or the last one
};

namespace gram_kernels {

constexpr int kTile = 128;
constexpr int kSlab = 32;  // rows of x under way at a time
constexpr int kStages = 4;
constexpr int kThreads = 128;  // four warps, each a quarter of 64 x 64
constexpr int kQuarter = 64;

// Rows of x, 16-byte chunks of a row swizzled so that those of eight rows lie in different banks.
template <class T>
struct Slab {
  T value[kSlab][kTile];

  __device__ __forceinline__ T* chunk(int row, int index) {
    return &value[row][(index ^ (row % 8)) * 8];
  }
};

template <class T>
struct Shared {
  Slab<T> slabs[kStages][2];  // columns of x for the tile's rows, and for its columns
};

template <bool Aligned, class T>
__device__ __forceinline__ void copy_slab(Slab<T>& slab, const Gram<T>& p, int64_t first_row,
                                          int64_t first_col) {
  constexpr int kChunks = kTile / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kSlab * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const int64_t from_row = first_row + row, from_col = first_col + chunk * 8;
    const T* from = p.x + from_row * p.cols + from_col;
    if constexpr (Aligned) {
      const bool inside = from_row < p.rows && from_col < p.cols;
      copy_async<16>(slab.chunk(row, chunk), inside ? from : p.x, inside);
    } else {
      Vector<T> values{};
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        if (from_row < p.rows && from_col + j < p.cols) values.value[j] = from[j];
      }
      store_vector(slab.chunk(row, chunk), values);
    }
  }
}

// Four 8 x 8 matrices, transposed; lane i names row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], const void* from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(from)))
               : "memory");
}

template <class T>
__device__ __forceinline__ void multiply_slab(Slab<T> (&slabs)[2], float (&sums)[4][8][4]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int left_chunk = warp / 2 * (kQuarter / 8), right_chunk = warp % 2 * (kQuarter / 8);
#pragma unroll
  for (int k = 0; k < kSlab; k += 16) {
    uint32_t left[4][4], right[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      load_transposed(
          left[i], slabs[0].chunk(k + lane / 16 * 8 + lane % 8, left_chunk + i * 2 + lane / 8 % 2));
      load_transposed(right[i], slabs[1].chunk(k + lane / 8 % 2 * 8 + lane % 8,
                                               right_chunk + i * 2 + lane / 16));
    }
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        Mma<T>::multiply(sums[m][n], left[m][0], left[m][1], left[m][2], left[m][3],
                         right[n / 2][n % 2 * 2], right[n / 2][n % 2 * 2 + 1]);
      }
    }
  }
}

// Two neighbours of a row, and their mirror images.
template <bool Aligned, class T>
__device__ __forceinline__ void store_both(const Gram<T>& p, int64_t row, int64_t col,
                                           const float* sums) {
  float* to = p.h + row * p.cols + col;
  if (Aligned && row < col && col < p.cols) {
    const float2 old = *reinterpret_cast<const float2*>(to);
    const float2 sum{p.keep * old.x + p.scale * sums[0], p.keep * old.y + p.scale * sums[1]};
    *reinterpret_cast<float2*>(to) = sum;
    p.h[col * p.cols + row] = sum.x;
    p.h[(col + 1) * p.cols + row] = sum.y;
    return;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (row > col + i || col + i >= p.cols) continue;
    const float sum = p.keep * to[i] + p.scale * sums[i];
    to[i] = sum;
    p.h[(col + i) * p.cols + row] = sum;
  }
}

template <class T, bool Aligned>
__global__ __launch_bounds__(kThreads) void add_gram(const Gram<T> p) {
  extern __shared__ __align__(128) unsigned char bytes[];
  auto& shared = *reinterpret_cast<Shared<T>*>(bytes);
  const Place place = triangle_place(triangle_size(p.begin / kTile) + blockIdx.x);
  const int64_t first_row = place.col * kTile, first_col = place.row * kTile;
  const auto copy = [&](int64_t step) {
    Slab<T>(&slabs)[2] = shared.slabs[step % kStages];
    copy_slab<Aligned>(slabs[0], p, step * kSlab, first_row);
    copy_slab<Aligned>(slabs[1], p, step * kSlab, first_col);
  };
  const int64_t steps = (p.rows + kSlab - 1) / kSlab;
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) copy(step);
    commit_copies();
  }
  float sums[4][8][4] = {};
  for (int64_t step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    __syncthreads();
    if (step + kStages - 1 < steps) copy(step + kStages - 1);
    commit_copies();
    multiply_slab(shared.slabs[step % kStages], sums);
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t row = first_row + warp / 2 * kQuarter + lane / 4;
  const int64_t col = first_col + warp % 2 * kQuarter + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < 4; ++m) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        store_both<Aligned>(p, row + m * 16 + half * 8, col + n * 8, sums[m][n] + half * 2);
      }
    }
  }
}

}  // namespace gram_kernels

template <class T>
void add_gram(const Gram<T>& gram, Context& context) {
  using namespace gram_kernels;
  Launch config;
  config.name = "gptq_hessian";
  config.grid = dim3(static_cast<unsigned>(triangle_size((gram.end + kTile - 1) / kTile) -
                                           triangle_size(gram.begin / kTile)));
  config.block = dim3(kThreads);
  static_assert(sizeof(Shared<T>) <= kLeastSharedBytes);
  config.shared_bytes = sizeof(Shared<T>);
  const bool aligned = vector_aligned(gram.x, gram.cols, sizeof(T));
  launch(config, context,
         aligned ? gram_kernels::add_gram<T, true> : gram_kernels::add_gram<T, false>, gram);
}

}  // namespace fewbit::cuda::gptq_quantizer
