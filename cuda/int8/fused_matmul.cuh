// linear_int8 in one kernel for sm_90a: TMA and mbarrier pipeline, s8 wgmma, epilogue on the
// accumulators.
//
// A block is a producer warpgroup (one thread copies weights, one x, two warps gather outliers) and
// two consumer warpgroups. A cluster is RowTiles x ColumnTiles neighbouring result tiles, times Split:
//   RowTiles, ColumnTiles: blocks over the same columns each fetch a part of the weight tile for all
//                          of them, and blocks over the same rows do so with the tile of x, because
//                          what an L2 cache delivers is what limits small tiles
//   Split:                 blocks that share a result tile each take a part of K; their int32 sums,
//                          exact in any order, meet through distributed shared memory
// Blocks are persistent: the producer runs ahead into the next tile while consumers finish one.
#pragma once

#include "../common/dependency.cuh"
#include "../wgmma/s32.cuh"
#include "fused_exchange.cuh"

namespace fewbit::cuda::int8 {

template <int BlockRows, int BlockColumns, int Split, int RowTiles, int ColumnTiles>
__global__ __launch_bounds__(kFusedThreads,
                             1) void fused_matmul(const __grid_constant__ CUtensorMap x_map,
                                                  const __grid_constant__ CUtensorMap weight_map,
                                                  const Product p, const TileGrid grid) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = FusedShape<BlockRows, BlockColumns, Split, RowTiles, ColumnTiles>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});

  const int rank = Shape::kCluster > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int row_rank = rank % RowTiles, column_rank = rank / RowTiles % ColumnTiles;
  const int tile_rank = rank % Shape::kTiles, depth_rank = rank / Shape::kTiles;
  const int clusters = static_cast<int>(gridDim.x) / Shape::kCluster;
  const int first_unit = static_cast<int>(blockIdx.x) / Shape::kCluster;
  const int begin = grid.depth_steps * depth_rank / Split;
  const int end = grid.depth_steps * (depth_rank + 1) / Split;
  const auto rank_of_tile = [&](int row_tile, int column_tile) {
    return depth_rank * Shape::kTiles + column_tile * RowTiles + row_tile;
  };
  const auto tile_at = [&](int unit) {
    const int2 at = grid.at(unit);
    return int2{(at.x * RowTiles + row_rank) * BlockRows,
                (at.y * ColumnTiles + column_rank) * BlockColumns};
  };

  if (threadIdx.x == 0) {
    prefetch_map(x_map);
    prefetch_map(weight_map);
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      barrier_init(shared.full[stage], 2);  // weights and x
      barrier_init(shared.empty[stage], kConsumerWarps / Shape::kDepthGroups * Shape::kPeers);
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(shared.outliers_full[i], kStagerThreads);
      barrier_init(shared.outliers_empty[i], kConsumerThreads);
    }
    shared.released = 0;
    barrier_init(shared.terms_full, kStagerThreads);
    barrier_init(shared.terms_empty, kConsumerThreads);
    barrier_init(shared.written, Split * kConsumerThreads);
    barrier_init_fence();
  }
  if constexpr (Shape::kCluster > 1) {
    __syncwarp();
    cluster_arrive_relaxed();
    cluster_wait();
  } else {
    __syncthreads();
  }
  if (threadIdx.x >= 32 || !p.settled) wait_for_predecessor();
  if (threadIdx.x >= 32) start_successor();

  if (threadIdx.x < kFusedThreads - kConsumerThreads) {
    give_registers<88>();
    int stage = 0;
    uint32_t phase = 0;
    const auto next = [&] {
      if (++stage < Shape::kStages) return;
      stage = 0;
      phase ^= 1;
    };
    if (threadIdx.x == 0) {
      // Weights. The first ones are on their way while the kernel before this one runs, and slowly
      // as long as it does, so that what it reads does not queue behind them.
      constexpr int kUnpaced = 16384 / Shape::kFetchedWeightBytes;
      constexpr int kAhead = 65536 / Shape::kFetchedWeightBytes;
      constexpr int kPace = 1500;  // clocks a step
      uint16_t mates = 0;
      for (int i = 0; i < RowTiles; ++i) mates |= 1 << rank_of_tile(i, column_rank);
      const long long start = clock64();
      const auto keep_pace = [&](int step) {
        if (step < kUnpaced) return;
        const long long due = static_cast<long long>(step - kUnpaced) * kPace;
        while (clock64() - start < due && !*static_cast<volatile const int*>(&shared.released)) {
          __nanosleep(40);
        }
      };
      for (int unit = first_unit; unit < grid.units(); unit += clusters) {
        const int column = tile_at(unit).y + row_rank * Shape::kFetchedColumns;
        const bool first = unit == first_unit && p.settled;
        for (int step = begin; step < end; ++step) {
          const int done = step - begin;
          if (first && done < Shape::kStages) keep_pace(done);
          if (first && done == Shape::kStages) {
            for (int later = step; later < min(end, step + kAhead); ++later) {
              keep_pace(later - begin);
              if (ready(shared.empty[0], 0)) break;
              prefetch_box(weight_map, later * kDepthStep, column);
            }
          }
          wait(shared.empty[stage], phase ^ 1);
          arrive_expecting(shared.full[stage], Shape::kStageBytes - Shape::kXBytes);
          unsigned char* weight =
              shared.stages[stage] + Shape::kXBytes + row_rank * Shape::kFetchedWeightBytes;
          if (grid.weight_once()) {
            copy_box_once<RowTiles>(weight, weight_map, shared.full[stage], step * kDepthStep,
                                    column, mates);
          } else {
            copy_box_to_all<RowTiles>(weight, weight_map, shared.full[stage], step * kDepthStep,
                                      column, mates);
          }
          next();
        }
      }
    } else if (threadIdx.x == 32) {
      *static_cast<volatile int*>(&shared.released) = 1;
      uint16_t mates = 0;
      for (int i = 0; i < ColumnTiles; ++i) mates |= 1 << rank_of_tile(row_rank, i);
      for (int unit = first_unit; unit < grid.units(); unit += clusters) {
        const int row = tile_at(unit).x + column_rank * Shape::kFetchedRows;
        for (int step = begin; step < end; ++step) {
          wait(shared.empty[stage], phase ^ 1);
          arrive_expecting(shared.full[stage], Shape::kXBytes);
          unsigned char* x = shared.stages[stage] + column_rank * Shape::kFetchedRows * kDepthStep;
          copy_box_to_all<ColumnTiles>(x, x_map, shared.full[stage], step * kDepthStep, row, mates);
          next();
        }
      }
    } else if (threadIdx.x >= 64) {
      const int thread = static_cast<int>(threadIdx.x) - 64;
      const OutlierSchedule<Shape::kSlices> schedule(p);
      int chunk = 0;
      for (int unit = first_unit; unit < grid.units(); unit += clusters, phase ^= 1) {
        const int2 tile = tile_at(unit);
        wait(shared.terms_empty, phase ^ 1);
        stage_columns<kStagerThreads>(p, shared.terms, tile.y, thread);
        arrive(shared.terms_full);
        for (int i = 0; i < 2 * schedule.repeats(); ++i) {
          const OutlierPass pass = i % 2 == 0 ? OutlierPass::Codes : OutlierPass::Weights;
          if (!p.has_pass(pass)) continue;
          for (int first = 0; first < schedule.count; first += kOutlierChunk, ++chunk) {
            wait(shared.outliers_empty[chunk % 2], (chunk / 2 & 1) ^ 1);
            stage_outliers<kStagerThreads>(p, shared.outliers[chunk % 2], pass, first,
                                           schedule.count, tile.x, tile.y, thread);
            arrive(shared.outliers_full[chunk % 2]);
          }
        }
      }
    }
  } else {
    take_registers<208>();
    const int thread = static_cast<int>(threadIdx.x) - (kFusedThreads - kConsumerThreads);
    const int lane = thread % 32;
    const int group = thread / 128 % Shape::kDepthGroups;
    const int part_of_k = depth_rank * Shape::kDepthGroups + group;
    const int part_row = thread % Shape::kExchangeThreads / 32 * 16;
    const int x_offset = part_row / 64 * 64 * kDepthStep;
    const OutlierSchedule<Shape::kSlices> schedule(p);
    // Lane i tells the i-th of the blocks that share a tile with this one: those over the same
    // columns, then the others over the same rows.
    const int other_column = lane - RowTiles + (lane - RowTiles >= column_rank);
    const auto peer = static_cast<uint32_t>(lane < RowTiles ? rank_of_tile(lane, column_rank)
                                                            : rank_of_tile(row_rank, other_column));
    const auto release = [&](int stage) {
      if constexpr (Shape::kPeers > 1) {
        if (lane < Shape::kPeers) arrive_at(shared.empty[stage], peer);
      } else {
        if (lane == 0) arrive(shared.empty[stage]);
      }
    };
    int fetched = 0, chunk = 0;  // so far
    uint32_t terms_phase = 0;
    for (int unit = first_unit; unit < grid.units(); unit += clusters, terms_phase ^= 1) {
      const int2 tile = tile_at(unit);
      TilePart part;
      part.first_row = tile.x;
      part.first_column = tile.y;
      part.row = part_row;
      int64_t rows[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        rows[half] = part.first_row + part_row + half * 8 + lane / 4;
        part.row_scale[half] = p.scales[min(rows[half], p.rows - 1)];
      }

      int32_t sums[Shape::kFragments * 4];
      int stage = (fetched + group) % Shape::kStages;
      uint32_t phase = (fetched + group) / Shape::kStages & 1;
      fetched += end - begin;
      int previous = -1;
      for (int step = begin + group; step < end; step += Shape::kDepthGroups) {
        wait(shared.full[stage], phase);
        const uint64_t a = tile_descriptor(shared.stages[stage] + x_offset);
        const uint64_t b = tile_descriptor(shared.stages[stage] + Shape::kXBytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < kDepthStep / 32; ++i) {
          wgmma(sums, a + 2 * i, b + 2 * i, previous >= 0 || i > 0);
        }
        wgmma_commit();
        wgmma_wait<1>();
        if (previous >= 0) release(previous);
        previous = stage;
        stage += Shape::kDepthGroups;
        if (stage >= Shape::kStages) {
          stage -= Shape::kStages;
          phase ^= 1;
        }
      }
      wgmma_wait<0>();
#pragma unroll
      for (int32_t& sum : sums) {
        asm volatile("" : "+r"(sum)::"memory");
        if (Shape::kDepthGroups > 1 && previous < 0) sum = 0;
      }
      if (previous >= 0) release(previous);

      int32_t own[Shape::kOwnFragments * 4];
      if constexpr (Shape::kParts > 1) {
        // Nobody reads the stages any more, or what was exchanged before.
        named_sync<kConsumerBarrier, kConsumerThreads>();
        int4* buffer = Split > 1 ? reinterpret_cast<int4*>(shared.stages) : shared.exchange;
        exchange_sums<Shape, Split>(sums, own, buffer, shared.written, part_of_k, tile_rank,
                                    thread);
      } else {
#pragma unroll
        for (int i = 0; i < Shape::kOwnFragments * 4; ++i) own[i] = sums[i];
      }
      wait(shared.terms_full, terms_phase);
      for (int i = chunk; schedule.once && i < chunk + schedule.hand_overs; ++i) {
        wait(shared.outliers_full[i % 2], i / 2 & 1);
      }
      const int own_column = part_of_k * Shape::kOwnFragments * 8;
// One copy of this code for all slices: it has to come from the instruction cache.
#pragma unroll 1
      for (int slice = 0; slice < Shape::kSlices; ++slice) {
        constexpr int kFragments = Shape::kSliceFragments;
        const int slice_column = own_column + slice * kFragments * 8;
        const auto column_of = [&](int fragment, int index) {
          return slice_column + fragment * 8 + index;
        };
        float values[kFragments][4];
        with_constant<Shape::kSlices>(slice, [&](auto constant) {
          constexpr int kFirst = constant * kFragments * 4;
#pragma unroll
          for (int i = 0; i < kFragments * 4; ++i) {
            int32_t sum = own[kFirst + i];
            asm volatile("" : "+r"(sum));  // else all are converted, and spilled, before the loop
            values[i / 4][i % 4] = static_cast<float>(sum);
          }
        });
        int handed = chunk + (schedule.once ? 0 : slice * schedule.hand_overs);
        if (schedule.plain) {
          finish_slice(p, part, shared.terms, schedule.staged(shared.outliers, chunk), values,
                       slice_column);
          continue;
        }
        finish_tile(p, part, shared.terms, values, column_of, [&](OutlierPass) {
          for (int first = 0; first < schedule.count; first += kOutlierChunk, ++handed) {
            if (!schedule.once) wait(shared.outliers_full[handed % 2], handed / 2 & 1);
            add_outliers(p, values, shared.outliers[handed % 2], part.row, column_of);
            if (!schedule.once) arrive(shared.outliers_empty[handed % 2]);
          }
        });
        with_result_type(p, [&](auto zero) {
          store_fragments<decltype(zero)>(p, rows, part.first_column + slice_column, values);
        });
      }
      for (int i = chunk; schedule.once && i < chunk + schedule.hand_overs; ++i) {
        arrive(shared.outliers_empty[i % 2]);
      }
      chunk += schedule.hand_overs * schedule.repeats();
      arrive(shared.terms_empty);
    }
  }
  // Nobody leaves while another block may still read its shared memory or signal its barriers.
  if constexpr (Shape::kCluster > 1) {
    __syncwarp();
    cluster_arrive_relaxed();
    cluster_wait();
  }
#endif
}

}  // namespace fewbit::cuda::int8
