// How fused_matmul's results leave.
#pragma once

#include "../common/hopper.cuh"
#include "../common/pairs.cuh"
#include "../common/store_four.cuh"
#include "linear_gptq.h"

namespace fewbit::cuda::gptq {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Stores a warp's sums right from where wgmma leaves them, 16 outputs for each row of x, while copies into
// shared memory go on. The output is of T, in whole units of 16 columns, at multiples of 8 bytes.
template <class T>
class WarpStore {
 public:
  __device__ __forceinline__ WarpStore(const LinearGptq& p, int first_column, int first_row,
                                       int lane)
      : rows_left_(p.rows - first_row - lane / 4),
        is_inside_(first_column < p.weight.rows),
        is_odd_(lane % 2),
        activation_(p.activation),
        step_(8 * p.out_stride) {
    const int part = lane % 4;
    const int64_t row = first_row + lane / 4;
    out_ =
        static_cast<T*>(p.out) + row * p.out_stride + first_column + (is_odd_ ? 6 : 0) + part * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t column = first_column + half * 8 + lane / 4;
      bias_[half] = p.bias && is_inside_ ? load_float(p.bias, p.bias_dtype, column) : 0.0f;
    }
  }

  // The next eight rows of x. A lane's sums are of output lane / 4 and the one eight behind it, two each: of
  // row lane % 4 * 2 and the next.
  __device__ __forceinline__ void store(const float* sums) {
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = activate(sums[i] + bias_[i / 2], activation_);
    const uint32_t low = transpose(pack<T>(values[0], values[1])),
                   high = transpose(pack<T>(values[2], values[3]));
    // A lane and its neighbour have two outputs of both halves: each takes four of one.
    const uint32_t other = __shfl_xor_sync(0xffffffffu, is_odd_ ? low : high, 1);
    if (rows_left_ > 0 && is_inside_) {
      *reinterpret_cast<uint2*>(out_) = is_odd_ ? uint2{other, high} : uint2{low, other};
    }
    out_ += step_;
    rows_left_ -= 8;
  }

 private:
  T* out_;
  int64_t rows_left_;
  bool is_inside_, is_odd_;
  Activation activation_;
  int64_t step_;
  float bias_[2];
};

// Stores a block's share of what the Blocks blocks of a cluster have summed up, each over its part of K and in
// the same place of shared memory: [BatchRows][Columns], rows Stride apart.
template <int Blocks, int BatchRows, int Columns, int Stride, int Threads>
__device__ __forceinline__ void store_share(const LinearGptq& p, const float* sums,
                                            int first_column, int first_row, int rank, int thread) {
  // A thread stores four outputs of every so many rows.
  constexpr int kRowThreads = Columns / 4, kRowStep = Threads / kRowThreads;
  constexpr int kRows = BatchRows / Blocks;
  constexpr int kBatch = 2;  // rows whose sums are on their way from other blocks at a time
  const int tile_column = thread % kRowThreads * 4;
  const int64_t column = first_column + tile_column;
  float bias[4] = {};
  if (p.bias) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bias[i] = load_float(p.bias, p.bias_dtype, min(column + i, p.weight.rows - 1));
    }
  }
  for (int first = thread / kRowThreads; first < kRows; first += kBatch * kRowStep) {
    float4 shares[kBatch][Blocks];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = rank * kRows + min(first + i * kRowStep, kRows - 1);
      const auto* from = reinterpret_cast<const float4*>(sums + row * Stride + tile_column);
#pragma unroll
      for (int block = 0; block < Blocks; ++block) {
        shares[i][block] =
            Blocks > 1 ? hopper::load_remote(from, static_cast<uint32_t>(block)) : *from;
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = first + i * kRowStep;
      const int64_t out_row = first_row + rank * kRows + row;
      if (row >= kRows || out_row >= p.rows) return;
      float values[4] = {};
#pragma unroll
      for (int block = 0; block < Blocks; ++block) {
        const float4& share = shares[i][block];
        values[0] += share.x;
        values[1] += share.y;
        values[2] += share.z;
        values[3] += share.w;
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) values[j] = activate(values[j] + bias[j], p.activation);
      store_four(p.out, p.out_dtype, out_row * p.out_stride + column, column, p.weight.rows,
                 values);
    }
  }
}

#endif

}  // namespace fewbit::cuda::gptq
