// linear_affine for many rows on sm_90a: TMA and mbarrier pipeline, codes of weights turned into int8
// in registers, s8 wgmma with the weights as operand A and X as operand B, so that the result comes
// out transposed: 128 columns by Tokens rows of X per block.
//
// A block is a producer warpgroup, of which one thread copies tiles and three warps stage scales and
// zero points, and two consumer warpgroups of 64 columns each: while one scales its sums of a group,
// the tensor cores work for the other. Blocks of a cluster may split K; their fp32 sums meet through
// distributed shared memory, in fixed order.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/store_four.cuh"
#include "../wgmma/s32.cuh"
#include "../wgmma/tile_shared.cuh"
#include "tile_weight.cuh"

namespace fewbit::cuda::affine {

constexpr int kTileThreads = 384;
constexpr int kConsumers = 256;
constexpr int kConsumerWarps = kConsumers / 32;
constexpr int kStagerWarps = 3;

template <int Bits, int GroupBlocks, int Tokens>
struct TileShape {
  static constexpr int kWidth = ops::affine::low_width(Bits);
  static constexpr int kXBytes = Tokens * kChunk;
  static constexpr int kLowBytes = kTileColumns * kChunk * kWidth / 8;
  static constexpr int kHighBytes = Bits == 3 ? kTileColumns * kChunk / 8 : 0;
  static constexpr int kCopiedBytes = kXBytes + kLowBytes + kHighBytes;
  // Groups that a chunk may have, and the terms of their columns.
  static constexpr int kGroups = kBlocks / GroupBlocks;
  static constexpr int kStageBytes = kCopiedBytes + kGroups * kTileColumns * sizeof(GroupTerm);
  static constexpr int kRoom = 220 * 1024;
  static constexpr int kStages = kRoom / kStageBytes < 8 ? kRoom / kStageBytes : 8;
  // With fewer, a stager could come back to a stage before the round in between, and take its
  // barrier's phase for that of the round before.
  static_assert(kStages >= kStagerWarps && kStageBytes % 1024 == 0);
  // Sums on their way out, [Tokens][kTileColumns]: the padding keeps threads in different banks.
  static constexpr int kSumStride = kTileColumns + 4;

  // A stage: X, codes, top bits, terms.
  using Shared = TileShared<kStages, kStageBytes, Tokens * kSumStride>;
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
};

struct TileGrid {
  int column_tiles;
  int split;       // blocks of a cluster, which share a tile
  float to_group;  // groups in a 32-position block
};

template <int Bits, int GroupBlocks, int Tokens>
__global__ __launch_bounds__(kTileThreads,
                             1) void tile_matmul(const __grid_constant__ CUtensorMap x_map,
                                                 const __grid_constant__ CUtensorMap low_map,
                                                 const __grid_constant__ CUtensorMap high_map,
                                                 const Product p, const TileGrid grid) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = TileShape<Bits, GroupBlocks, Tokens>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});

  const int rank = grid.split > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int unit = static_cast<int>(blockIdx.x) / grid.split;
  const int first_column = unit % grid.column_tiles * kTileColumns;
  const int first_row = unit / grid.column_tiles * Tokens;
  const int begin = static_cast<int>(int64_t{p.chunks()} * rank / grid.split);
  const int count = static_cast<int>(int64_t{p.chunks()} * (rank + 1) / grid.split) - begin;

  start_successor();
  if (threadIdx.x == 0) {
    prefetch_map(x_map);
    prefetch_map(low_map);
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      barrier_init(shared.full[stage], 1 + 32);
      barrier_init(shared.empty[stage], kConsumerWarps);
    }
    barrier_init_fence();
  }
  if (grid.split > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }

  if (threadIdx.x < kTileThreads - kConsumers) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      const auto copy_weights = [&](int stage, int chunk) {
        arrive_expecting(shared.full[stage], Shape::kCopiedBytes);
        unsigned char* to = shared.stages[stage] + Shape::kXBytes;
        copy_box(to, low_map, shared.full[stage], chunk * (kChunk * Shape::kWidth / 8),
                 first_column);
        if constexpr (Bits == 3) {
          copy_box(to + Shape::kLowBytes, high_map, shared.full[stage], chunk * (kChunk / 8),
                   first_column);
        }
      };
      const auto copy_x = [&](int stage, int chunk) {
        copy_box(shared.stages[stage], x_map, shared.full[stage], chunk * kChunk, first_row);
      };
      const int early = p.weights_settled ? min(Shape::kStages, count) : 0;
      for (int i = 0; i < early; ++i) copy_weights(i, begin + i);
      wait_for_predecessor();
      for (int i = 0; i < early; ++i) copy_x(i, begin + i);
      for (int i = early; i < count; ++i) {
        const int stage = i % Shape::kStages;
        wait(shared.empty[stage], static_cast<uint32_t>(i / Shape::kStages & 1) ^ 1);
        copy_weights(stage, begin + i);
        copy_x(stage, begin + i);
      }
    } else if (threadIdx.x >= 32) {
      if (!p.weights_settled) wait_for_predecessor();
      // A warp to every third stage, so that the loads of several are under way.
      const int warp = static_cast<int>(threadIdx.x) / 32 - 1, lane = threadIdx.x % 32;
      for (int i = warp; i < count; i += kStagerWarps) {
        const int stage = i % Shape::kStages;
        wait(shared.empty[stage], static_cast<uint32_t>(i / Shape::kStages & 1) ^ 1);
        stage_terms<GroupBlocks>(
            p, first_column, begin + i, grid.to_group, lane,
            reinterpret_cast<GroupTerm*>(shared.stages[stage] + Shape::kCopiedBytes));
        arrive(shared.full[stage]);
      }
    }
    __syncwarp();
    if (grid.split > 1) {
      cluster_sync();
      cluster_sync();
    }
  } else {
    take_registers<232>();
    wait_for_predecessor();
    const int thread = static_cast<int>(threadIdx.x) - (kTileThreads - kConsumers);
    const int lane = thread % 32, part = lane % 4;
    const int tile_row = thread / 32 * 16 + lane / 4;  // of W, within the tile

    // Half the rows of X at a time: while the tensor cores work on one half, the sums of the other are
    // scaled.
    constexpr int kHalves = Tokens >= 64 ? 2 : 1;
    constexpr int kSums = Tokens / 2 / kHalves;
    constexpr int kUnits = Shape::kGroups * kHalves;  // of a chunk
    float totals[kHalves][kSums] = {};
    int32_t sums[kHalves][kSums];
    TileStep<GroupBlocks> steps[2];
    int stage = 0;
    uint32_t phase = 0;
    const auto load_step = [&](TileStep<GroupBlocks>& to, int at, uint32_t parity) {
      wait(shared.full[at], parity);
      const unsigned char* low = shared.stages[at] + Shape::kXBytes;
      const auto* terms =
          reinterpret_cast<const GroupTerm*>(shared.stages[at] + Shape::kCopiedBytes);
      to.template load<Bits>(low, low + Shape::kLowBytes, terms, tile_row, part);
    };
    const auto multiply = [&](int32_t(&to)[kSums], const TileStep<GroupBlocks>& step, int group,
                              uint64_t x) {
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < GroupBlocks; ++i) {
        const int block = group * GroupBlocks + i;
        wgmma(to, step.a[block], x + 2 * block, i > 0);
      }
      wgmma_commit();
    };
    const auto take = [&](int32_t(&from)[kSums], float(&into)[kSums], const float(&scale)[2]) {
#pragma unroll
      for (int32_t& sum : from) asm volatile("" : "+r"(sum)::"memory");
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        into[i] = fmaf(scale[i % 4 / 2], static_cast<float>(from[i]), into[i]);
      }
    };
    // A pair of chunks, or the one that is left, of which the first is in steps[0]; more: others follow.
    // In pairs, so that a step's registers are never those of the step before.
    const auto multiply_steps = [&]<int Chunks>(std::integral_constant<int, Chunks>, bool more) {
      constexpr int kAll = Chunks * kUnits;
      int at[Chunks];
      uint64_t x[Chunks];
      const auto enter = [&](int chunk) {
        at[chunk] = stage;
        x[chunk] = tile_descriptor(shared.stages[stage]);
        if (++stage == Shape::kStages) {
          stage = 0;
          phase ^= 1;
        }
      };
      const auto issue = [&](int unit) {
        const int chunk = unit / kUnits, half = unit % kHalves;
        multiply(sums[half], steps[chunk], unit % kUnits / kHalves,
                 x[chunk] + half * (kSums * 2 * kChunk / 16));
      };
      enter(0);
#pragma unroll
      for (int unit = 0; unit < kHalves; ++unit) issue(unit);
      // The next chunk's codes are unpacked while this one is multiplied.
      if (Chunks == 2) {
        load_step(steps[1], stage, phase);
        enter(Chunks - 1);
      }
#pragma unroll
      for (int unit = 0; unit < kAll; ++unit) {
        if (kHalves == 2 && unit < kAll - 1) {
          wgmma_wait<1>();
        } else {
          wgmma_wait<0>();
        }
        const int chunk = unit / kUnits, half = unit % kHalves;
        take(sums[half], totals[half], steps[chunk].scale[unit % kUnits / kHalves]);
        if (unit + kHalves < kAll) issue(unit + kHalves);
        if (unit % kUnits < kUnits - 1) continue;
        __syncwarp();
        if (lane == 0) arrive(shared.empty[at[chunk]]);
        if (Chunks == 2 && chunk == 0 && more) load_step(steps[0], stage, phase);
      }
    };
    if (count > 0) load_step(steps[0], 0, 0);
    int step = 0;
    for (; step + 1 < count; step += 2) {
      multiply_steps(std::integral_constant<int, 2>{}, step + 2 < count);
    }
    if (step < count) multiply_steps(std::integral_constant<int, 1>{}, false);

    named_sync<1, kConsumers>();  // nobody reads the stages any more, and all copies have come
#pragma unroll
    for (int i = 0; i < Tokens / 2; ++i) {
      const int row = i / 4 * 8 + part * 2 + i % 2;
      shared.sums[row * Shape::kSumStride + tile_row + i % 4 / 2 * 8] =
          totals[i / kSums][i % kSums];
    }
    if (grid.split > 1) {
      cluster_sync();
    } else {
      named_sync<1, kConsumers>();
    }
    const int64_t column = first_column + lane * 4;
    float bias[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) bias[i] = p.bias_at(min(column + i, p.columns - 1));
    const int share_rows = Tokens / grid.split;
    for (int row = rank * share_rows + thread / 32; row < (rank + 1) * share_rows;
         row += kConsumerWarps) {
      const int64_t out_row = first_row + row;
      if (out_row >= p.rows) break;
      const float* from = &shared.sums[row * Shape::kSumStride + lane * 4];
      const float4 sum = cluster_total(from, grid.split);
      float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) values[i] = activate(values[i] + bias[i], p.activation);
      store_four(p.out, p.out_dtype, out_row * p.out_stride + column, column, p.columns, values);
    }
    // Nobody leaves while another block may still read its sums.
    __syncwarp();
    if (grid.split > 1) cluster_sync();
  }
#endif
}

}  // namespace fewbit::cuda::affine
