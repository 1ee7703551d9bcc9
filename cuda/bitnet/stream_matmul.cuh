// linear_bitnet for any number of rows on any device: weights straight from memory into the tensor
// cores.
//
// A block owns 16 * RowTiles rows of W (the 16-row operand of the product) and 8 * BatchTiles rows
// of X (the 8-column operand). Its warps split K; their sums meet in shared memory. A lane reads
// the 16 bytes that hold 64 neighbouring columns of a row of W, and the 64 codes that belong to
// them: K is permuted alike for both operands, which changes no sum.
#pragma once

#include "../common/dependency.cuh"
#include "../common/gemv.cuh"
#include "../common/mma.cuh"
#include "product.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::bitnet {

constexpr int kStreamWarps = 8;
constexpr int kStreamThreads = kStreamWarps * 32;
constexpr int kStreamDepth = 256;  // of K in a warp's step: 64 columns for each of four lanes

template <int RowTiles, int BatchTiles>
__global__ __launch_bounds__(kStreamThreads) void stream_matmul(const Product p) {
  constexpr int kColumns = RowTiles * 16, kRows = BatchTiles * 8;
  __shared__ int32_t shared_sums[kStreamWarps][kColumns][kRows];
  start_successor();

  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int group = lane / 4, part = lane % 4;
  const int64_t first_column = int64_t{blockIdx.x} * kColumns;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  const int64_t first_element = int64_t{warp} * kStreamDepth + part * 64;

  uint4 next[RowTiles][2];
  const auto read_weights = [&](int64_t element) {
#pragma unroll
    for (int tile = 0; tile < RowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = min(first_column + tile * 16 + half * 8 + group, p.columns - 1);
        next[tile][half] = element < p.depth
                               ? load_once(p.weight + row * p.row_bytes() + element / 4)
                               : uint4{0, 0, 0, 0};
      }
    }
  };
  if (p.weights_settled) read_weights(first_element);
  wait_for_predecessor();
  if (!p.weights_settled) read_weights(first_element);

  int32_t sums[RowTiles][BatchTiles][4] = {};
  for (int64_t element = first_element; element - part * 64 < p.depth;
       element += int64_t{kStreamWarps} * kStreamDepth) {
    const bool inside = element < p.depth;
    uint4 weights[RowTiles][2];
#pragma unroll
    for (int i = 0; i < RowTiles * 2; ++i) weights[i / 2][i % 2] = next[i / 2][i % 2];
    read_weights(element + int64_t{kStreamWarps} * kStreamDepth);
#pragma unroll
    for (int batch = 0; batch < BatchTiles; ++batch) {
      const int64_t row = first_row + batch * 8 + group;
      const auto* from = reinterpret_cast<const uint4*>(p.codes + row * p.depth + element);
      uint4 codes[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        codes[i] = inside && row < p.rows ? from[i] : uint4{0, 0, 0, 0};
      }
#pragma unroll
      for (int tile = 0; tile < RowTiles; ++tile) {
        const uint32_t upper[4] = {weights[tile][0].x, weights[tile][0].y, weights[tile][0].z,
                                   weights[tile][0].w};
        const uint32_t lower[4] = {weights[tile][1].x, weights[tile][1].y, weights[tile][1].z,
                                   weights[tile][1].w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          Mma<int8_t>::multiply(sums[tile][batch], unpack(upper[i], 0), unpack(lower[i], 0),
                                unpack(upper[i], 1), unpack(lower[i], 1), codes[i].x, codes[i].y);
          Mma<int8_t>::multiply(sums[tile][batch], unpack(upper[i], 2), unpack(lower[i], 2),
                                unpack(upper[i], 3), unpack(lower[i], 3), codes[i].z, codes[i].w);
        }
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < RowTiles; ++tile) {
#pragma unroll
    for (int batch = 0; batch < BatchTiles; ++batch) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        *reinterpret_cast<int2*>(
            &shared_sums[warp][tile * 16 + half * 8 + group][batch * 8 + part * 2]) =
            int2{sums[tile][batch][2 * half], sums[tile][batch][2 * half + 1]};
      }
    }
  }
  __syncthreads();
  for (int i = thread; i < kColumns * kRows; i += kStreamThreads) {
    const int64_t column = first_column + i % kColumns, row = first_row + i / kColumns;
    if (column >= p.columns || row >= p.rows) continue;
    int32_t sum = 0;
#pragma unroll
    for (int w = 0; w < kStreamWarps; ++w) sum += shared_sums[w][i % kColumns][i / kColumns];
    p.store(row, column,
            p.finish(sum, p.sums[row], p.scales[row], p.weight_scales[column], p.bias_at(column)),
            p.residual_at(row, column));
  }
}

}  // namespace fewbit::cuda::bitnet
