// linear_gptq for many rows on sm_90a: TMA and mbarrier pipeline, codes turned into 16-bit weights in
// registers, wgmma with the weights as operand A and x as operand B, so that the result comes out
// transposed: 64 outputs for each of Warpgroups by BatchRows rows of x per block.
//
// A block is a producer warpgroup (one thread copies tiles) and Warpgroups consumers. If IsStream, it takes
// one unit of the product after the other, and the next one's tiles come while it stores, right from registers.
// Else it has a single unit, alone or with other blocks of a cluster, which split K: their f32 sums meet
// through distributed shared memory, in fixed order.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../wgmma/f32.cuh"
#include "fused_shape.cuh"
#include "fused_store.cuh"

namespace fewbit::cuda::gptq {

template <class T, int Bits, int BatchRows, int Warpgroups, bool IsStream>
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
  const int split = IsStream ? 1 : grid.split;
  const int depth_rank = split > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int begin = static_cast<int>(int64_t{grid.depth_steps} * depth_rank / split);
  const int end = static_cast<int>(int64_t{grid.depth_steps} * (depth_rank + 1) / split);
  const int first_unit = static_cast<int>(blockIdx.x) / split;
  // Calls body(unit, its first column, its first row of x) for each unit of the block.
  const auto for_units = [&](auto body) {
    int unit = first_unit;
    do {
      body(unit, grid.first_column + unit % grid.column_tiles * Shape::kColumns,
           unit / grid.column_tiles * BatchRows);
      unit += static_cast<int>(gridDim.x);
    } while (IsStream && unit < grid.units);
  };
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
      int filled = 0;  // stages of all units
      for_units([&](int unit, int first_column, int first_row) {
        // i: of the unit's parts of K, kStageDepth positions.
        const auto copy_codes = [&](int stage, int i) {
          arrive_expecting(shared.full[stage], Shape::kCopiedBytes);
          unsigned char* to = shared.stages[stage] + Shape::kXBytes;
          copy_box(to, low_map, shared.full[stage],
                   (first_piece + i) * (Shape::kStageDepth * plane_width(Bits) / 8), first_column);
          if constexpr (Bits == 3) {
            copy_box(to + Shape::kLowBytes, high_map, shared.full[stage],
                     (first_piece + i) * (Shape::kStageDepth / 8), first_column);
          }
        };
        const auto copy_x = [&](int stage, int i) {
#pragma unroll
          for (int half = 0; half < Shape::kHalves; ++half) {
            copy_box(shared.stages[stage] + half * kHalfXBytes, x_map, shared.full[stage],
                     ((first_piece + i) * Shape::kHalves + half) * 128, first_row);
          }
        };
        int i = 0;
        if (unit == first_unit) {
          // Weights may be read before the wait: they are constants of a captured graph, and outside of
          // one the launch does not overlap.
          const int early = min(Shape::kStages, pieces);
          for (; i < early; ++i) copy_codes(i, i);
          wait_for_predecessor();
          for (i = 0; i < early; ++i) copy_x(i, i);
          filled = early;
        }
        for (; i < pieces; ++i, ++filled) {
          const int stage = filled % Shape::kStages;
          wait(shared.empty[stage], static_cast<uint32_t>(filled / Shape::kStages & 1) ^ 1);
          copy_codes(stage, i);
          copy_x(stage, i);
        }
      });
    } else if (threadIdx.x >= 32) {
      // A warp to every third stage, so that the loads of several are under way.
      const int warp = static_cast<int>(threadIdx.x) / 32 - 1, lane = threadIdx.x % 32;
      with_scales(w, [&](const auto* scales) {
        int next = warp, behind = 0;  // stages of all units, and of those before
        for_units([&](int, int first_column, int) {
          const GridStager<T, Bits, Shape::kColumns> stager(w, first_column, lane, to_group);
          for (; next < behind + pieces; next += kStagerWarps) {
            const int stage = next % Shape::kStages, piece = first_piece + next - behind;
            wait(shared.empty[stage], static_cast<uint32_t>(next / Shape::kStages & 1) ^ 1);
            stager.stage(scales, piece * (Shape::kStageDepth / kChunk), grid.parts,
                         reinterpret_cast<uint2*>(shared.stages[stage] + Shape::kCopiedBytes));
            arrive(shared.full[stage]);
          }
          behind += pieces;
        });
      });
    }
    __syncwarp();
    if (split > 1) {
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
    for_units([&](int, int first_column, int first_row) {
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
#pragma unroll
      for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
        for (float& sum : sums[mma]) {
          asm volatile("" : "+f"(sum)::"memory");
          if (begin == end) sum = 0;
        }
      }
      if constexpr (IsStream) {
        release(stage == 0 ? Shape::kStages - 1 : stage - 1);
        WarpStore<T> store(p, first_column + thread / 32 * 16, first_row, lane);
#pragma unroll
        for (int mma = 0; mma < Shape::kMmas; ++mma) {
#pragma unroll
          for (int i = 0; i < Shape::kMmaRows / 2; i += 4) store.store(&sums[mma][i]);
        }
        return;
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
      const auto store = [&](auto blocks) {
        store_share<decltype(blocks)::value, BatchRows, Shape::kColumns, Shape::kSumStride,
                    Shape::kConsumers>(p, shared.sums, first_column, first_row, depth_rank, thread);
      };
      if (split == 1) {
        named_sync<1, Shape::kConsumers>();
        store(std::integral_constant<int, 1>{});
        return;
      }
      cluster_sync();
      split == 2 ? store(std::integral_constant<int, 2>{})
                 : store(std::integral_constant<int, 4>{});
      // Nobody leaves while another block may still read its sums.
      __syncwarp();
      cluster_sync();
    });
  }
#endif
}

}  // namespace fewbit::cuda::gptq
