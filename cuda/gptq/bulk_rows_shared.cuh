// What bulk_rows_matmul keeps in shared memory beside its stages, and how its blocks share their work.
#pragma once

#include "../common/reduce.cuh"
#include "bulk_stages.cuh"

namespace fewbit::cuda::gptq {

constexpr int kRowsWarps = 16;
constexpr int kRowsThreads = kRowsWarps * 32;
// Sums of a tile are read while those of the next are written: whoever writes has seen that all have read
// the tile three before.
constexpr int kSumSlots = 4;

constexpr int kEarlyFills = 2;  // stages that are filled before x is loaded

struct RowsPlan {
  int stages;
  int pieces;  // of a row
  int slices;
  int slice_pieces;           // whole boxes of each plane
  int low_boxes, high_boxes;  // of 128 bytes, in a slice
  float to_group;             // from pieces to groups
  uint32_t zero;              // which the compiler must not know
  float* partial;             // [slices][rows computed][outputs], if there are several slices
  uint32_t* arrived;          // blocks that are done, of each share of rows; zeros between kernels
};

__device__ __forceinline__ float2 load_shared_floats(uint32_t address) {
  float2 two;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
               : "=f"(two.x), "=f"(two.y)
               : "r"(address)
               : "memory");
  return two;
}
__device__ __forceinline__ void store_shared(uint32_t address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

// What warps find of a tile. Rows is how many rows of X are computed, 8 or 16. The order of values is such
// that threads which write or read at the same time use all banks.
template <int Rows>
struct RowsSums {
  static constexpr int kBatchTiles = Rows / 8;
  static constexpr int kHalf = Rows * 8 + 8;  // eight rows of W
  static constexpr int kWarp = 2 * kHalf;
  static constexpr int kSlotBytes = kRowsWarps * kWarp * 4;

  float of[kSumSlots][kRowsWarps][kWarp];

  // Of a thread's first sum from its warp's.
  __device__ __forceinline__ static uint32_t offset(int group, int part) {
    return static_cast<uint32_t>(part * 8 + group) * 4;
  }
  __device__ __forceinline__ static void put(uint32_t to, const float (&totals)[kBatchTiles][4]) {
#pragma unroll
    for (int batch = 0; batch < kBatchTiles; ++batch) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        store_shared(to + (i / 2 * kHalf + (batch * 8 + i % 2 * 4) * 8) * 4, totals[batch][i]);
      }
    }
  }

  // The row of X whose sums are in a place.
  __device__ __forceinline__ static int row_at(int place) {
    return place / 8 * 8 + place % 4 * 2 + place / 4 % 2;
  }
  // What every other warp has for a row of W, the first or the second by the half of the warp.
  __device__ __forceinline__ float total(int slot, int place, int lane) const {
    const float* from = &of[slot][lane / 16][lane / 8 % 2 * kHalf + place * 8 + lane % 8];
    float sum = 0;
#pragma unroll
    for (int other = 0; other < kRowsWarps; other += 2) sum += from[other * kWarp];
    return sum;
  }
};

template <int Rows>
struct RowsShared {
  static constexpr int kBatchTiles = RowsSums<Rows>::kBatchTiles;

  RowsSums<Rows> sums;
  float2 grids[kRowsWarps][kWarpPieces * kBulkTile];  // scales and negative zero points
  float2 x_sums[kRowsWarps][kWarpPieces][kBatchTiles * 4];
  uint64_t full[kMaxStages];
  uint64_t done[kSumSlots];  // all warps with a tile's codes, and with writing its sums
  bool last;
};

// Whether this block is the last of those that share rows to come here. What they wrote before is there.
__device__ __forceinline__ bool last_of_share(const RowsPlan& plan, int share, bool& last) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(plan.arrived + share, 1) + 1 == static_cast<unsigned>(plan.slices);
    if (last) plan.arrived[share] = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

__device__ __forceinline__ void store_output(const LinearGptq& p, int row, int column, float sum) {
  if (p.bias) sum += load_float(p.bias, p.bias_dtype, column);
  store_float(p.out, p.out_dtype, row * p.out_stride + column, activate(sum, p.activation));
}

// Adds up, in order, what blocks of all slices left of some of the outputs, and stores them.
template <int Rows>
__device__ __forceinline__ void add_slices(const LinearGptq& p, const RowsPlan& plan, int first,
                                           int columns) {
  constexpr int kBatch = 4;  // loads under way at a time, of each slice
  const int fours = columns / 4, count = fours * static_cast<int>(p.rows);
  const int64_t slice_fours = p.weight.rows * Rows / 4;
  for (int begin = static_cast<int>(threadIdx.x); begin < count; begin += kBatch * kRowsThreads) {
    const float4* from[kBatch];
    float4 sums[kBatch] = {};
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int at = min(begin + i * kRowsThreads, count - 1);
      from[i] = reinterpret_cast<const float4*>(plan.partial + at / fours * p.weight.rows + first) +
                at % fours;
    }
#pragma unroll 2
    for (int slice = 0; slice < plan.slices; ++slice) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const float4 share = __ldcg(from[i] + slice * slice_fours);
        sums[i].x += share.x;
        sums[i].y += share.y;
        sums[i].z += share.z;
        sums[i].w += share.w;
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int at = begin + i * kRowsThreads;
      if (at >= count) break;
      const int row = at / fours, column = first + at % fours * 4;
      store_output(p, row, column, sums[i].x);
      store_output(p, row, column + 1, sums[i].y);
      store_output(p, row, column + 2, sums[i].z);
      store_output(p, row, column + 3, sums[i].w);
    }
  }
}

}  // namespace fewbit::cuda::gptq
