// What quantized columns do to columns after them: values -= errors^T U, one product in fp32. Each
// sum starts from the value and runs in the order of the quantized columns, as on the CPU, so that
// both round alike.
#pragma once

#include "../common/async_copy.cuh"
#include "../common/convert.cuh"
#include "column_block.cuh"

namespace fewbit::cuda::gptq_quantizer {

// Columns [first, end) are corrected for the errors of the `depth` columns (a multiple of 128) from
// `done` on, which the rows of `errors` hold.
struct LazyUpdate {
  const float* errors;
  int64_t done, depth, first, end;
};

namespace lazy_update_kernels {

constexpr int kRows = 128;  // of a block of threads
constexpr int kCols = 128;
constexpr int kSlab = 16;  // of the product's depth
constexpr int kStages = 3;
constexpr int kThreads = 256;  // 16 x 16, each with 2 x 2 squares of 4 x 4
constexpr int kSide = 16;

struct Shared {
  float errors[kStages][kSlab][kRows];
  float factor[kStages][kSlab][kCols];
};

// Index of a thread's element e along a side of 128: four neighbours, and four 64 further.
__device__ __forceinline__ int spread(int thread, int e) { return e / 4 * 64 + thread * 4 + e % 4; }

template <bool Aligned>
__device__ __forceinline__ void copy_slab(Shared& shared, int stage, const Weights& p,
                                          const LazyUpdate& update, int slab, int64_t first_row,
                                          int64_t first_col) {
  constexpr int kWidth = Aligned ? 4 : 1;  // floats
#pragma unroll
  for (int i = threadIdx.x; i < kSlab * kRows / 4; i += kThreads) {
    const int k = i / (kRows / 4), row = i % (kRows / 4) * 4;
    copy_async<16>(&shared.errors[stage][k][row],
                   update.errors + int64_t{slab * kSlab + k} * p.error_stride + first_row + row);
  }
#pragma unroll
  for (int i = threadIdx.x; i < kSlab * kCols / kWidth; i += kThreads) {
    const int k = i / (kCols / kWidth), col = i % (kCols / kWidth) * kWidth;
    const bool inside = first_col + col < update.end;
    const float* from = p.factor + (update.done + slab * kSlab + k) * p.cols + first_col + col;
    copy_async<4 * kWidth>(&shared.factor[stage][k][col], inside ? from : p.factor, inside);
  }
}

// body(row, col, sum) for groups of four neighbours of a row: sums[i][j .. j + 3].
template <class Body>
__device__ __forceinline__ void for_each_four(float (&sums)[8][8], Body&& body) {
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 8; j += 4) body(spread(ty, i), spread(tx, j), &sums[i][j]);
  }
}

// Aligned: rows of values and of the factor are multiples of 16 bytes, and so is end.
template <bool Aligned>
__global__ __launch_bounds__(kThreads, 2) void update_columns(const Weights p,
                                                              const LazyUpdate update) {
  __shared__ __align__(16) Shared shared;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  const int64_t first_col = update.first + int64_t{blockIdx.x} * kCols;
  const int slabs = static_cast<int>(update.depth / kSlab);
#pragma unroll
  for (int slab = 0; slab < kStages - 1; ++slab) {
    copy_slab<Aligned>(shared, slab, p, update, slab, first_row, first_col);
    commit_copies();
  }
  float sums[8][8];
  for_each_four(sums, [&](int row, int col, float* four) {
    const float* from = p.values + min(first_row + row, p.rows - 1) * p.cols + first_col + col;
    if constexpr (Aligned) {
      float4 read{};
      if (first_col + col < update.end) read = *reinterpret_cast<const float4*>(from);
      four[0] = read.x, four[1] = read.y, four[2] = read.z, four[3] = read.w;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) four[i] = first_col + col + i < update.end ? from[i] : 0.0f;
    }
  });

  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  for (int slab = 0; slab < slabs; ++slab) {
    wait_copies<kStages - 2>();
    __syncthreads();
    const int next = slab + kStages - 1;
    if (next < slabs) {
      copy_slab<Aligned>(shared, next % kStages, p, update, next, first_row, first_col);
    }
    commit_copies();
    const int stage = slab % kStages;
#pragma unroll
    for (int k = 0; k < kSlab; ++k) {
      float left[8], right[8];
#pragma unroll
      for (int part = 0; part < 8; part += 4) {
        *reinterpret_cast<float4*>(left + part) =
            *reinterpret_cast<const float4*>(&shared.errors[stage][k][spread(ty, part)]);
        *reinterpret_cast<float4*>(right + part) =
            *reinterpret_cast<const float4*>(&shared.factor[stage][k][spread(tx, part)]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(-left[i], right[j], sums[i][j]);
      }
    }
  }

  for_each_four(sums, [&](int row, int col, const float* four) {
    if (first_row + row >= p.rows) return;
    float* to = p.values + (first_row + row) * p.cols + first_col + col;
    if constexpr (Aligned) {
      if (first_col + col >= update.end) return;
      *reinterpret_cast<float4*>(to) = float4{four[0], four[1], four[2], four[3]};
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (first_col + col + i < update.end) to[i] = four[i];
      }
    }
  });
}

}  // namespace lazy_update_kernels

inline void update_columns(const Weights& weights, const LazyUpdate& update, Context& context) {
  using namespace lazy_update_kernels;
  if (update.first >= update.end) return;
  Launch config;
  config.name = "gptq_quantize: update";
  config.grid = dim3(static_cast<unsigned>((update.end - update.first + kCols - 1) / kCols),
                     static_cast<unsigned>((weights.rows + kRows - 1) / kRows));
  config.block = dim3(kThreads);
  const bool aligned = vector_aligned(weights.factor, weights.cols, sizeof(float));
  launch(config, context,
         aligned ? lazy_update_kernels::update_columns<true>
                 : lazy_update_kernels::update_columns<false>,
         weights, update);
}

}  // namespace fewbit::cuda::gptq_quantizer
