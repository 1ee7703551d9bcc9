// linear_bitnet for many rows on sm_90a: TMA and mbarrier pipeline, s8 wgmma with the weights
// unpacked into registers, epilogue on the accumulators.
//
// A block is a producer warpgroup, of which one thread copies tiles and three warps fetch what else a
// tile's rows need, and two consumer warpgroups. W
// is the 64-row operand, which may come from registers, so a result tile is transposed: its rows
// are columns of the op's result. W and X have rings of their own, since a box of 128 bytes holds
// four times as many columns of W. With Split > 1 a cluster of blocks shares a tile and each takes a
// part of K; their sums meet through distributed shared memory. Otherwise blocks are persistent:
// the producer runs ahead into the next tile while consumers finish one.
#pragma once

#include <type_traits>

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../wgmma/s32.cuh"
#include "tile_operands.cuh"

namespace fewbit::cuda::bitnet {

// Adds: whether results are added to a residual.
template <int Tokens, int Split, bool Adds>
__global__ __launch_bounds__(kTileThreads,
                             1) void tile_matmul(const __grid_constant__ CUtensorMap x_map,
                                                 const __grid_constant__ CUtensorMap weight_map,
                                                 const Product p, const TileGrid grid) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = TileShape<Tokens, Split>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});

  const int rank = Split > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int clusters = static_cast<int>(gridDim.x) / Split;
  const int first_unit = static_cast<int>(blockIdx.x) / Split;
  const int begin = grid.depth_steps * rank / Split;
  const int end = grid.depth_steps * (rank + 1) / Split;
  const auto copy_weight = [&](int stage, int column_tile, int step) {
    arrive_expecting(shared.weight_full[stage], Shape::kWeightBytes);
    copy_box(shared.weight[stage], weight_map, shared.weight_full[stage], step * kDepthStep / 4,
             column_tile * Shape::kColumns);
  };
  // Boxes of W that were under way before the predecessor had ended.
  const int ahead =
      p.weights_settled ? min(Shape::kWeightStages, (end - begin + kBoxSteps - 1) / kBoxSteps) : 0;

  if (threadIdx.x == 0) {
    prefetch_map(x_map);
    prefetch_map(weight_map);
    for (int stage = 0; stage < Shape::kXStages; ++stage) {
      barrier_init(shared.x_full[stage], 1);
      barrier_init(shared.x_empty[stage], kConsumerWarps);
    }
    for (int stage = 0; stage < Shape::kWeightStages; ++stage) {
      barrier_init(shared.weight_full[stage], 1);
      barrier_init(shared.weight_empty[stage], kConsumerWarps);
    }
    barrier_init(shared.rows_full, kStagerThreads);
    barrier_init(shared.rows_empty, kConsumerThreads);
    barrier_init_fence();
    for (int i = 0; i < ahead; ++i) copy_weight(i, grid.at(first_unit).y, begin + i * kBoxSteps);
  }
  if constexpr (Split > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  wait_for_predecessor();
  start_successor();

  if (threadIdx.x < kTileThreads - kConsumerThreads) {
    give_registers<40>();
    // For exchange_sums, where consumers must not wait for this warpgroup, which may be waiting for
    // them.
    if constexpr (Split > 1) cluster_arrive();
    if (threadIdx.x == 0) {
      RingPlace<Shape::kXStages> x;
      RingPlace<Shape::kWeightStages> weight;
      int boxes = 0;
      for (int unit = first_unit; unit < grid.units(); unit += clusters) {
        const int2 tile = grid.at(unit);
        for (int step = begin; step < end; ++step) {
          if ((step - begin) % kBoxSteps == 0) {
            if (boxes >= ahead) {
              wait(shared.weight_empty[weight.stage], weight.phase ^ 1);
              copy_weight(weight.stage, tile.y, step);
            }
            ++boxes;
            weight.advance();
          }
          wait(shared.x_empty[x.stage], x.phase ^ 1);
          arrive_expecting(shared.x_full[x.stage], Shape::kXBytes);
          copy_box(shared.x[x.stage], x_map, shared.x_full[x.stage], step * kDepthStep,
                   tile.x * Tokens);
          x.advance();
        }
      }
    } else if (threadIdx.x >= kTileThreads - kConsumerThreads - kStagerThreads) {
      uint32_t phase = 0;
      for (int unit = first_unit; unit < grid.units(); unit += clusters, phase ^= 1) {
        wait(shared.rows_empty, phase ^ 1);
        stage_rows<kStagerThreads>(p, shared.rows, int64_t{grid.at(unit).x} * Tokens,
                                   static_cast<int>(threadIdx.x) - 32);
        arrive(shared.rows_full);
      }
    }
    __syncwarp();
    if constexpr (Split > 1) cluster_wait();
  } else {
    take_registers<232>();
    const int thread = static_cast<int>(threadIdx.x) - (kTileThreads - kConsumerThreads);
    const int lane = thread % 32, group = lane / 4, part = lane % 4;
    // Of this thread's first row of W within the tile.
    const int own_row = thread / 32 * 16 + group;
    RingPlace<Shape::kXStages> x;
    RingPlace<Shape::kWeightStages> weight;
    uint32_t rows_phase = 0;
    [[maybe_unused]] int staged_turn = 0;
    for (int unit = first_unit; unit < grid.units(); unit += clusters, rows_phase ^= 1) {
      const int2 tile = grid.at(unit);
      const int64_t row = int64_t{tile.x} * Tokens;
      const int64_t column = int64_t{tile.y} * Shape::kColumns + own_row;
      const ColumnPair columns(p, column);
      int32_t sums[Shape::kSums];
      uint32_t registers[2][4][4];
      int previous = -1;
      const auto multiply_step = [&](int step, uint32_t(&now)[4][4], uint32_t(&before)[4][4]) {
        const int in_box = (step - begin) % kBoxSteps;
        if (in_box == 0) wait(shared.weight_full[weight.stage], weight.phase);
        unpack_step(now, shared.weight[weight.stage], own_row, in_box, group, part);
        if (in_box == kBoxSteps - 1 || step == end - 1) {
          __syncwarp();
          if (lane == 0) arrive(shared.weight_empty[weight.stage]);
          weight.advance();
        }
        wait(shared.x_full[x.stage], x.phase);
        const uint64_t b = tile_descriptor(shared.x[x.stage]);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          wgmma(sums, now[i], b + 2 * i, step > begin || i > 0);
        }
        wgmma_commit();
        wgmma_wait<1>();
        // The step before has ended: only now may its registers be written again.
#pragma unroll
        for (int i = 0; i < 16; ++i) asm volatile("" : "+r"(before[i / 4][i % 4])::"memory");
        if (previous >= 0 && lane == 0) arrive(shared.x_empty[previous]);
        previous = x.stage;
        x.advance();
      };
      // In pairs, so that a step's registers are never those of the step before.
      int step = begin;
      for (; step + 1 < end; step += 2) {
        multiply_step(step, registers[0], registers[1]);
        multiply_step(step + 1, registers[1], registers[0]);
      }
      if (step < end) multiply_step(step, registers[0], registers[1]);
      wgmma_wait<0>();
#pragma unroll
      for (int32_t& sum : sums) asm volatile("" : "+r"(sum)::"memory");
      if (lane == 0) arrive(shared.x_empty[previous]);

      if constexpr (Split > 1) {
        static_assert(Shape::kSums * kConsumerThreads * 4 <= sizeof(shared.x));
        named_sync<kConsumerBarrier, kConsumerThreads>();  // nobody reads the stages any more
        exchange_sums<Shape::kSums, Split>(sums, reinterpret_cast<int32_t*>(shared.x), rank,
                                           thread);
      }
      wait(shared.rows_full, rows_phase);
      bool stored = false;
      if constexpr (Split == 1) {
        const int half = thread / 128;
        const auto store_as = [&](auto zero, auto plain) {
          store_staged<decltype(zero), Tokens, Adds, decltype(plain)::value>(
              p, sums, shared.rows, columns, row, column - own_row + half * 64, shared.staged[half],
              staged_turn, kFirstStageBarrier + half);
        };
        const auto store = [&](auto zero) {
          p.is_plain() ? store_as(zero, std::true_type{}) : store_as(zero, std::false_type{});
        };
        stored = stores_together<8>(p);
        if (stored) p.out_dtype == DType::BF16 ? store(__nv_bfloat16{}) : store(__half{});
      }
      if (!stored)
        store_tile<Tokens, Split, Adds>(p, sums, shared.rows, columns, row, column, rank);
      arrive(shared.rows_empty);
    }
  }
  // Nobody leaves while another block may still read its shared memory.
  if constexpr (Split > 1) {
    __syncwarp();
    cluster_sync();
  }
#endif
}

}  // namespace fewbit::cuda::bitnet
