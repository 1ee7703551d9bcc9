// linear_int8 after an int32 product: scales, bias, outliers, activation and rounding in one kernel.
#include "common/dependency.cuh"
#include "common/launch.h"
#include "int8/linear_int8.h"
#include "int8/tile_epilogue.cuh"

namespace fewbit::cuda::int8 {

namespace {

constexpr int kThreads = 128;
constexpr int kRows = 64;     // 16 a warp
constexpr int kColumns = 64;  // all of them for every warp
constexpr int kFragments = kColumns / 8;

// Fragments come in pairs whose columns are interleaved so that a thread holds four neighbours.
__device__ __forceinline__ int column_of(int fragment, int index) {
  return fragment / 2 * 16 + index / 2 * 4 + fragment % 2 * 2 + index % 2;
}

__global__ __launch_bounds__(kThreads) void dequantize_tile(const Product p, const int32_t* sums,
                                                            int64_t begin, int64_t end) {
  __shared__ OutlierTile<kRows, kColumns> tile;
  __shared__ ColumnTerms<kColumns> terms;
  wait_for_predecessor();
  const int thread = threadIdx.x, warp = thread / 32, group = thread % 32 / 4, part = thread % 4;
  const int64_t first_column = int64_t{blockIdx.x} * kColumns;
  const int64_t first_row = begin + int64_t{blockIdx.y} * kRows;
  TilePart place{first_row, first_column, warp * 16, {}};

  float values[kFragments][4];
  int64_t rows[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    rows[half] = first_row + warp * 16 + half * 8 + group;
    const int64_t row = min(rows[half], end - 1);
    place.row_scale[half] = p.scales[row];
#pragma unroll
    for (int pair = 0; pair < kFragments / 2; ++pair) {
      // The sums have as many columns as the weight has rows, a multiple of 16.
      const int64_t column = min(first_column + pair * 16 + part * 4, p.weight_rows - 4);
      const int4 four =
          *reinterpret_cast<const int4*>(sums + (row - begin) * p.weight_rows + column);
      values[2 * pair][2 * half] = static_cast<float>(four.x);
      values[2 * pair][2 * half + 1] = static_cast<float>(four.y);
      values[2 * pair + 1][2 * half] = static_cast<float>(four.z);
      values[2 * pair + 1][2 * half + 1] = static_cast<float>(four.w);
    }
  }
  stage_columns<kThreads>(p, terms, first_column, thread);
  __syncthreads();
  const int count = p.outliers_here();
  finish_tile(p, place, terms, values, column_of, [&](OutlierPass pass) {
    for (int first = 0; first < count; first += kOutlierChunk) {
      __syncthreads();  // the chunk before has been read
      stage_outliers<kThreads>(p, tile, pass, first, count, first_row, first_column, thread);
      __syncthreads();
      add_outliers(p, values, tile, place.row, column_of);
    }
  });
  with_result_type(p, [&](auto zero) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (rows[half] >= end) continue;
#pragma unroll
      for (int pair = 0; pair < kFragments / 2; ++pair) {
        const float four[4] = {values[2 * pair][2 * half], values[2 * pair][2 * half + 1],
                               values[2 * pair + 1][2 * half], values[2 * pair + 1][2 * half + 1]};
        store_results<decltype(zero)>(p, rows[half], first_column + pair * 16 + part * 4, four);
      }
    }
  });
}

}  // namespace

void dequantize(const Product& product, const int32_t* sums, int64_t first_row, int64_t rows,
                Context& context) {
  Launch config;
  config.name = "linear_int8: dequantizing";
  config.grid = dim3(static_cast<unsigned>((product.columns + kColumns - 1) / kColumns),
                     static_cast<unsigned>((rows + kRows - 1) / kRows));
  config.block = dim3(kThreads);
  launch(config, context, dequantize_tile, product, sums, first_row, first_row + rows);
}

}  // namespace fewbit::cuda::int8
