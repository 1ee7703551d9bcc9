// GPTQ inside a block of 128 columns: one column after the other is rounded, and its error goes to
// those of the block that follow. Rows do not depend on each other.
#pragma once

#include "../../src/ops/gptq_quantize.h"
#include "../common/async_copy.cuh"
#include "../common/launch.h"
#include "grid.cuh"

namespace fewbit::cuda::gptq_quantizer {

// The matrices of a call, with columns in the order they are quantized in: by position.
struct Weights {
  float* values;         // [rows, cols], becomes the dequantized weight
  uint8_t* codes;        // [rows, cols]
  float* loss;           // [rows]
  const float* factor;   // [cols, cols]; null: every weight is rounded to nearest
  const int32_t* order;  // [cols] column at each position; null: as they are
  int64_t rows, cols;
  int64_t error_stride;  // of errors by position and row

  __device__ __forceinline__ int64_t column(int64_t position) const {
    return order ? order[position] : position;
  }
};

// Which grid a position uses.
struct Grouping {
  bool by_column;
  uint32_t size;  // all columns for one grid per row

  __device__ __forceinline__ int64_t group(int64_t position, int64_t column, int64_t groups) const {
    const auto group = static_cast<uint32_t>(by_column ? column : position) / size;
    return min(int64_t{group}, groups - 1);  // of a column outside of the matrix, too
  }
};

namespace column_block_kernels {

constexpr int kColumns = static_cast<int>(ops::gptq_quantize::kBlock);
constexpr int kLanes = 8;  // threads that share a row; a thread has every eighth column
constexpr int kEach = kColumns / kLanes;
constexpr int kRows = 32;  // of a block of threads

// x / by as IEEE 754 has it, for many x: the quotient by the reciprocal, and its remainder's.
struct Divisor {
  float by, reciprocal;

  __device__ __forceinline__ explicit Divisor(float by) : by(by), reciprocal(1 / by) {}
  __device__ __forceinline__ float divide(float x) const {
    const float quotient = x * reciprocal;
    return fmaf(fmaf(-quotient, by, x), reciprocal, quotient);
  }
};

// How one column of one row is rounded.
struct Rounding {
  Grid grid;
  float most;
  Divisor scale, diagonal;

  __device__ __forceinline__ Rounding(const Grid& grid, float most, float diagonal)
      : grid(grid), most(most), scale(grid.scale), diagonal(diagonal) {}

  __device__ __forceinline__ float code(float weight) const {
    return grid.clamp(scale.divide(weight), most);
  }
  // In units that the factor expects.
  __device__ __forceinline__ float error(float weight) const {
    return diagonal.divide(weight - grid.value(code(weight)));
  }
};

// U of the block, zeros outside of the matrix.
__device__ __forceinline__ void load_factor(float (&u)[kColumns][kColumns], const Weights& p,
                                            int64_t first) {
  for (int i = threadIdx.x; i < kColumns * kColumns; i += kRows * kLanes) {
    const int row = i / kColumns, col = i % kColumns;
    const bool inside = first + row < p.cols && first + col < p.cols;
    const float* from = p.factor + (first + row) * p.cols + first + col;
    copy_async<4>(&u[row][col], inside ? from : p.factor, inside);
  }
  commit_copies();
}

__global__ __launch_bounds__(kRows* kLanes,
                             3) void quantize_block(const Weights p, const Grouping grouping,
                                                    const GridSettings settings, const Grids grids,
                                                    int64_t first, float* errors) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& u = *reinterpret_cast<float(*)[kColumns][kColumns]>(shared);
  if (p.factor) load_factor(u, p, first);
  const int lane = threadIdx.x % kLanes;
  const int64_t row = int64_t{blockIdx.x} * kRows + threadIdx.x / kLanes;
  const int64_t safe_row = min(row, p.rows - 1);
  const float most = settings.most();

  float x[kEach];
  Grid grid[kEach];
  // Without branches, so that the loads are under way together: outside of the matrix, those of the
  // last column, whose errors then meet zeros of U.
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t position = min(first + i * kLanes + lane, p.cols - 1);
    x[i] = p.values[safe_row * p.cols + position];
    grid[i] = grids.at(safe_row, grouping.group(position, p.column(position), grids.groups));
  }
  wait_copies<0>();
  __syncthreads();

  double loss = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int own = i * kLanes + lane;
    const int64_t position = first + own;
    const bool diagonal = p.factor && position < p.cols;
    const Rounding rounding(grid[i], most, diagonal ? u[own][own] : 1.0f);
#pragma unroll 1
    for (int turn = 0; p.factor && turn < kLanes; ++turn) {
      const float* factor = u[i * kLanes + turn] + lane;
      const float error = -__shfl_sync(kFullWarp, rounding.error(x[i]), turn, kLanes);
      // A column that had its turn keeps the weight that was rounded.
      if (lane > turn) x[i] = fmaf(error, factor[i * kLanes], x[i]);
#pragma unroll
      for (int j = i + 1; j < kEach; ++j) x[j] = fmaf(error, factor[j * kLanes], x[j]);
    }
    if (row >= p.rows || position >= p.cols) continue;
    const float code = rounding.code(x[i]), error = rounding.error(x[i]);
    loss += 0.5 * static_cast<double>(error) * static_cast<double>(error);
    if (errors) errors[own * p.error_stride + row] = error;
    p.codes[row * p.cols + position] = static_cast<uint8_t>(code);
    p.values[row * p.cols + position] = rounding.grid.value(code);
  }
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    loss += __shfl_xor_sync(kFullWarp, loss, offset);
  }
  if (lane != 0 || row >= p.rows) return;
  p.loss[row] = (first == 0 ? 0.0f : p.loss[row]) + static_cast<float>(loss);
}

}  // namespace column_block_kernels

// Quantizes a block of positions and leaves their errors [128, error_stride], unless null. The grids
// must be there.
inline void quantize_columns(const Weights& weights, const Grouping& grouping,
                             const GridSettings& settings, const Grids& grids, int64_t first,
                             float* errors, Context& context) {
  using namespace column_block_kernels;
  Launch config;
  config.name = "gptq_quantize: columns";
  config.grid = dim3(static_cast<unsigned>((weights.rows + kRows - 1) / kRows));
  config.block = dim3(kRows * kLanes);
  config.shared_bytes = sizeof(float) * kColumns * kColumns;
  launch(config, context, quantize_block, weights, grouping, settings, grids, first, errors);
}

}  // namespace fewbit::cuda::gptq_quantizer
