// linear_gptq for many rows on sm_90a: TMA and mbarrier pipeline, codes turned into 16-bit weights in
// registers, wgmma with the weights as operand A and x as operand B, so that the result comes out
// transposed: 64 outputs for each of Warpgroups by BatchRows rows of x per block.
//
// A block is a producer warpgroup (one thread copies tiles) and Warpgroups consumers. Blocks of a
// cluster split K; their f32 sums meet through distributed shared memory, in fixed order.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../wgmma/f32.cuh"
#include "fused_steps.cuh"

namespace fewbit::cuda::gptq {

constexpr int kProducers = 128;
constexpr int kStagerWarps = 3;

template <int Bits, int BatchRows, int Warpgroups>
struct FusedShape {
  static constexpr int kColumns = Warpgroups * 64;
  static constexpr int kConsumers = Warpgroups * 128;
  static constexpr int kThreads = kProducers + kConsumers;
  // A stage holds both halves of a tile's depth, or one where two would leave too few stages.
  static constexpr int kHalves = Bits == 8 && BatchRows > 128 ? 1 : 2;
  static constexpr int kStageDepth = kTileDepth / 2 * kHalves;
  static constexpr int kStagesPerTile = 2 / kHalves;
  static constexpr int kXBytes = BatchRows * kStageDepth * 2;
  static constexpr int kLowBytes = kColumns * kStageDepth * plane_width(Bits) / 8;
  static constexpr int kHighBytes = Bits == 3 ? kColumns * kStageDepth / 8 : 0;
  static constexpr int kCopiedBytes = kXBytes + kLowBytes + kHighBytes;
  // Scales and zero points, of every part of the tile or, where the largest tiles leave no room for
  // that, of all of it.
  static constexpr int kParts = BatchRows > 128 ? 1 : kTileParts;
  static constexpr int kGridBytes = kParts * kColumns * sizeof(uint2);
  static constexpr int kStageBytes = kCopiedBytes + kGridBytes;
  // Small tiles leave room for a second block on the multiprocessor.
  static constexpr int kBlocks = BatchRows <= 32 ? 2 : 1;
  // What is there once the producers have given most of theirs.
  static constexpr int kConsumerRegisters = kBlocks == 2 ? 96 : Warpgroups > 2 ? 152 : 232;
  static constexpr int kRoom = kBlocks == 2 ? 110 * 1024 : 225 * 1024;
  static constexpr int kStages = kRoom / kStageBytes < 16 ? kRoom / kStageBytes : 16;
  // With fewer, a warp that stages grids could come back to a stage before the round in between, and
  // take its barrier's phase for that of the round before.
  static_assert(kStages >= kStagerWarps);
  // One wgmma takes up to 128 rows of x.
  static constexpr int kMmaRows = BatchRows < 128 ? BatchRows : 128;
  static constexpr int kMmas = BatchRows / kMmaRows;
  // Sums on their way out, [BatchRows][kColumns]: the padding keeps threads in different banks.
  static constexpr int kSumStride = kColumns + 4;

  struct Shared {
    union {
      unsigned char stages[kStages][kStageBytes];  // x, codes, top bits, grids; 1024-byte aligned
      float sums[BatchRows * kSumStride];
    };
    uint64_t full[kStages], empty[kStages];
  };
  static constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align
};

struct FusedGrid {
  int first_column;
  int column_tiles;
  int depth_steps;
  int split;  // blocks of a cluster that share a tile
  int parts;  // of a tile that may be of different groups: all, or 1 where groups are whole tiles
};

template <class T, int Bits, int BatchRows, int Warpgroups>
__global__ __launch_bounds__(
    (FusedShape<Bits, BatchRows, Warpgroups>::kThreads),
    (FusedShape<Bits, BatchRows, Warpgroups>::
         kBlocks)) void fused_matmul(const __grid_constant__ CUtensorMap x_map,
                                     const __grid_constant__ CUtensorMap low_map,
                                     const __grid_constant__ CUtensorMap high_map,
                                     const LinearGptq p, const FusedGrid grid,
                                     const float to_group) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = FusedShape<Bits, BatchRows, Warpgroups>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  // Aligned in a way that leaves the compiler knowing what memory this is.
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(
      shared_bytes + (-shared_address(shared_bytes) & 1023u));

  const Weight& w = p.weight;
  const int depth_rank = grid.split > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int unit = static_cast<int>(blockIdx.x) / grid.split;
  const int first_column = grid.first_column + unit % grid.column_tiles * Shape::kColumns;
  const int first_row = unit / grid.column_tiles * BatchRows;
  const int begin = static_cast<int>(int64_t{grid.depth_steps} * depth_rank / grid.split);
  const int end = static_cast<int>(int64_t{grid.depth_steps} * (depth_rank + 1) / grid.split);
  const int first_piece = begin * Shape::kStagesPerTile;  // a stage's part of K
  const int pieces = (end - begin) * Shape::kStagesPerTile;
  constexpr int kHalfXBytes = Shape::kXBytes / Shape::kHalves;

  start_successor();
  if (threadIdx.x == 0) {
    prefetch_map(x_map);
    prefetch_map(low_map);
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      barrier_init(shared.full[stage], 1 + 32);
      barrier_init(shared.empty[stage], Shape::kConsumers);
    }
    barrier_init_fence();
  }
  __syncthreads();

  if (threadIdx.x < kProducers) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      // piece: of K, kStageDepth positions.
      const auto copy_codes = [&](int stage, int piece) {
        arrive_expecting(shared.full[stage], Shape::kCopiedBytes);
        unsigned char* to = shared.stages[stage] + Shape::kXBytes;
        copy_box(to, low_map, shared.full[stage],
                 piece * (Shape::kStageDepth * plane_width(Bits) / 8), first_column);
        if constexpr (Bits == 3) {
          copy_box(to + Shape::kLowBytes, high_map, shared.full[stage],
                   piece * (Shape::kStageDepth / 8), first_column);
        }
      };
      const auto copy_x = [&](int stage, int piece) {
#pragma unroll
        for (int half = 0; half < Shape::kHalves; ++half) {
          copy_box(shared.stages[stage] + half * kHalfXBytes, x_map, shared.full[stage],
                   (piece * Shape::kHalves + half) * 128, first_row);
        }
      };
      // Weights may be read before the wait: they are constants of a captured graph, and outside of
      // one the launch does not overlap.
      const int early = min(Shape::kStages, pieces);
      for (int i = 0; i < early; ++i) copy_codes(i, first_piece + i);
      wait_for_predecessor();
      for (int i = 0; i < early; ++i) copy_x(i, first_piece + i);
      for (int i = early; i < pieces; ++i) {
        const int stage = i % Shape::kStages;
        wait(shared.empty[stage], static_cast<uint32_t>(i / Shape::kStages & 1) ^ 1);
        copy_codes(stage, first_piece + i);
        copy_x(stage, first_piece + i);
      }
    } else if (threadIdx.x >= 32) {
      // A warp to every third stage, so that the loads of several are under way.
      const int warp = static_cast<int>(threadIdx.x) / 32 - 1, lane = threadIdx.x % 32;
      const GridStager<T, Bits, Shape::kColumns> stager(w, first_column, lane, to_group);
      with_scales(w, [&](const auto* scales) {
        for (int i = warp; i < pieces; i += kStagerWarps) {
          const int stage = i % Shape::kStages;
          wait(shared.empty[stage], static_cast<uint32_t>(i / Shape::kStages & 1) ^ 1);
          stager.stage(scales, (first_piece + i) * (Shape::kStageDepth / kChunk), grid.parts,
                       reinterpret_cast<uint2*>(shared.stages[stage] + Shape::kCopiedBytes));
          arrive(shared.full[stage]);
        }
      });
    }
    __syncwarp();
    if (grid.split > 1) {
      cluster_sync();
      cluster_sync();
    }
  } else {
    take_registers<Shape::kConsumerRegisters>();
    wait_for_predecessor();
    const int thread = static_cast<int>(threadIdx.x) - kProducers;
    const int lane = thread % 32, part = lane % 4;
    const int tile_row = thread / 32 * 16 + lane / 4;
    const uint32_t part_bytes = grid.parts == 1 ? 0 : Shape::kColumns * sizeof(uint2);
    // Every thread says that it has read: racecheck does not see what one says for its warp.
    const auto release = [&](int stage) { arrive(shared.empty[stage]); };

    float sums[Shape::kMmas][Shape::kMmaRows / 2];
    uint32_t a[2][4][4];
    int stage = 0;
    uint32_t phase = 0;
    for (int step = begin; step < end; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int in_stage = half % Shape::kHalves;
        if (in_stage == 0) wait(shared.full[stage], phase);
        const uint32_t x_tile = shared_address(shared.stages[stage]);
        const uint32_t low = x_tile + Shape::kXBytes, high = low + Shape::kLowBytes;
        const uint32_t grids_of = x_tile + Shape::kCopiedBytes + tile_row * 8;
        const HalfTileWords<Bits> words[2] = {
            load_half_tile<Bits, Shape::kHalves>(low, high, tile_row, in_stage, part),
            load_half_tile<Bits, Shape::kHalves>(low, high, tile_row + 8, in_stage, part)};
        uint2 grids[2][2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint32_t from = grids_of + (in_stage * 2 + i) * part_bytes;
          grids[i][0] = load_shared_two(from);
          grids[i][1] = load_shared_two(from + 8 * 8);
        }
        unpack_half<T, Bits>(words, grids, part, a[half]);
        const uint64_t x = tile_descriptor(shared.stages[stage] + in_stage * kHalfXBytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int mma = 0; mma < Shape::kMmas; ++mma) {
            wgmma<T>(sums[mma], a[half][i], x + 2 * i + mma * (Shape::kMmaRows * 128 / 16),
                     step > begin || half > 0 || i > 0);
          }
        }
        wgmma_commit();
        // What came before is done with its registers and its stage.
        wgmma_wait<1>();
        if (in_stage == 0 && (step > begin || half > 0)) {
          release(stage == 0 ? Shape::kStages - 1 : stage - 1);
        }
        if (in_stage == Shape::kHalves - 1 && ++stage == Shape::kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
    }
    wgmma_wait<0>();
    if (begin == end) {
#pragma unroll
      for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
        for (float& sum : sums[mma]) sum = 0;
      }
    }
#pragma unroll
    for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
      for (float& sum : sums[mma]) asm volatile("" : "+f"(sum)::"memory");
    }

    // Nobody reads the stages any more, and all copies have come.
    named_sync<1, Shape::kConsumers>();
#pragma unroll
    for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
      for (int i = 0; i < Shape::kMmaRows / 2; ++i) {
        const int row = mma * Shape::kMmaRows + i / 4 * 8 + part * 2 + i % 2;
        shared.sums[row * Shape::kSumStride + tile_row + i % 4 / 2 * 8] = sums[mma][i];
      }
    }
    if (grid.split > 1) {
      cluster_sync();
    } else {
      named_sync<1, Shape::kConsumers>();
    }
    // A thread stores four outputs of every eighth row.
    constexpr int kRowThreads = Shape::kColumns / 4;
    const int tile_column = thread % kRowThreads * 4;
    const int64_t column = first_column + tile_column;
    float bias[4] = {};
    if (p.bias) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        bias[i] = load_float(p.bias, p.bias_dtype, min(column + i, w.rows - 1));
      }
    }
    const int share_rows = BatchRows / grid.split;
    for (int row = depth_rank * share_rows + thread / kRowThreads;
         row < (depth_rank + 1) * share_rows; row += Shape::kConsumers / kRowThreads) {
      const int64_t out_row = first_row + row;
      if (out_row >= p.rows) break;
      const float* from = &shared.sums[row * Shape::kSumStride + tile_column];
      const float4 sum = cluster_total(from, grid.split);
      float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) values[i] = activate(values[i] + bias[i], p.activation);
      store_four(p, out_row * p.out_stride + column, column, values);
    }
    // Nobody leaves while another block may still read its sums.
    __syncwarp();
    if (grid.split > 1) cluster_sync();
  }
#endif
}

}  // namespace fewbit::cuda::gptq
