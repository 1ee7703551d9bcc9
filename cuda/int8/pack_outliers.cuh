// Packs the outlier columns of linear_int8 (packed_outliers.h). A block finds the place of each outlier,
// those whose weights are codes first, then takes its share of the rows of x and of the weight.
#pragma once

#include "../common/dependency.cuh"
#include "../common/reduce.cuh"
#include "outlier_mma.cuh"

namespace fewbit::cuda::int8 {

constexpr int kPackThreads = 512;
constexpr int kPackWarps = kPackThreads / 32;

// What stands at a place of the packed rows.
struct Place {
  int outlier;  // -1: nothing, a zero
  int slot;     // of kept weights, or -1
};

// Fills places and returns how many chunks each pass has. All threads get the same answer.
__device__ __forceinline__ int2 find_places(const Product& p, int count, Place* places,
                                            int* scratch) {
  constexpr int kEach = PackedOutliers::kMost / kPackThreads;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  for (int i = thread; i < PackedOutliers::kPlaces; i += kPackThreads) places[i] = {-1, -1};
  Place own[kEach];
  int second = 0;  // of the second pass among the thread's own
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int at = thread * kEach + i;
    own[i] = {-1, -1};
    if (at < count) own[i].outlier = p.outliers[at];
    if (own[i].outlier >= 0) own[i].slot = p.slot_of(own[i].outlier);
    second += own[i].outlier >= 0 && (own[i].slot >= 0 || p.bitsandbytes);
  }
  int before = warp_exclusive_sum(second, lane);
  if (lane == 31) scratch[warp] = before + second;
  __syncthreads();
  int all = 0;
  for (int i = 0; i < kPackWarps; ++i) {
    if (i < warp) before += scratch[i];
    all += scratch[i];
  }
  const int2 chunks{(count - all + kOutlierChunk - 1) / kOutlierChunk,
                    (all + kOutlierChunk - 1) / kOutlierChunk};
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (own[i].outlier < 0) continue;
    const bool is_second = own[i].slot >= 0 || p.bitsandbytes;
    const int at = thread * kEach + i;
    places[is_second ? chunks.x * kOutlierChunk + before : at - before] = own[i];
    before += is_second;
  }
  __syncthreads();
  return chunks;
}

__global__ __launch_bounds__(kPackThreads) void copy_outliers(const Product p) {
  __shared__ Place places[PackedOutliers::kPlaces];
  __shared__ int scratch[kPackWarps];
  start_successor();
  wait_for_predecessor();
  const int count = p.outlier_total();
  if (!p.packs(count)) return;
  const int2 chunks = find_places(p, count, places, scratch);
  if (blockIdx.x == 0 && threadIdx.x == 0) *p.packed.chunks = chunks;
  const int width = (chunks.x + chunks.y) * kOutlierChunk,
            lane = static_cast<int>(threadIdx.x) % 32;
  const auto* x = static_cast<const uint16_t*>(p.x.data);
  const bool bfloat16 = p.x.dtype == DType::BF16;
  const int64_t first = int64_t{blockIdx.x} * kPackWarps + threadIdx.x / 32;
  for (int64_t row = first; row < p.rows + p.columns; row += int64_t{gridDim.x} * kPackWarps) {
    if (row < p.rows) {
      uint16_t* to = p.packed.x + row * width;
#pragma unroll 4
      for (int i = lane; i < width; i += 32) {
        const int outlier = places[i].outlier;
        to[i] = outlier >= 0 ? x[row * p.x_columns + outlier] : uint16_t{0};
      }
    } else {
      const int64_t column = row - p.rows;
      uint16_t* to = p.packed.weight + column * width;
      const float scale = p.weight_scales[column];
#pragma unroll 4
      for (int i = lane; i < width; i += 32) {
        const auto [outlier, slot] = places[i];
        float value = 0;
        if (slot >= 0) {
          value = p.kept[slot * p.columns + column];
        } else if (outlier >= 0) {
          value = static_cast<float>(p.weight[column * p.depth + outlier]);
          if (p.bitsandbytes) value = round_to(p.rounding, __fdiv_rn(value * scale, 127.0f));
        }
        to[i] = half_bits(value, bfloat16);
      }
    }
  }
}

}  // namespace fewbit::cuda::int8
