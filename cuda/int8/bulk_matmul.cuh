// linear_int8 for up to sixteen rows on sm_90, limited by the bandwidth of the weights.
//
// One block to a multiprocessor, each with an equal share of the rows of W, up to 32 at a time (a tile;
// operands of the mma, of which rows of X are the columns). A tile comes in slices of K through a ring
// of stages in shared memory, by bulk copies of boxes, one for each warp: they need no registers, and
// those of W are under way before the kernels ahead of this one have ended. Further warps fill the
// stages and see to the outliers; others add up what the warps found of a tile, exact in any order, and
// store it.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/mma.cuh"
#include "bulk_shape.cuh"

namespace fewbit::cuda::int8 {

template <int BatchTiles>
__global__ __launch_bounds__(
    BulkShape<BatchTiles>::kThreads,
    BulkShape<BatchTiles>::kMinBlocks) void bulk_matmul(const __grid_constant__ CUtensorMap
                                                            weight_map,
                                                        const __grid_constant__ CUtensorMap x_map,
                                                        const Product p, const BulkPlan plan) {
#if __CUDA_ARCH__ >= 900
  using namespace hopper;
  using Shape = BulkShape<BatchTiles>;
  extern __shared__ unsigned char shared_bytes[];
  auto* const ring = reinterpret_cast<unsigned char*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});
  const int weight_box = plan.tile * kBoxBytes;
  const int stage_bytes = Shape::stage_bytes(plan.tile);
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(ring + plan.stages * stage_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first_column = p.columns * blockIdx.x / gridDim.x;
  const int own_columns = static_cast<int>(p.columns * (blockIdx.x + 1) / gridDim.x - first_column);
  const int own_tiles = (own_columns + plan.tile - 1) / plan.tile;
  const int boxes = static_cast<int>((p.depth + kBoxBytes - 1) / kBoxBytes);
  const int slices = (boxes + kBulkWarps - 1) / kBulkWarps;
  start_successor();
  if (threadIdx.x == kBulkWarps * 32) {
    prefetch_map(weight_map);
    for (int i = 0; i < plan.stages; ++i) {
      barrier_init(shared.full[i], 2);                // W and X
      barrier_init(shared.empty[i], kBulkWarps + 1);  // and the warp for outliers
    }
    barrier_init(shared.done, (kBulkWarps + 1) * 32);
    barrier_init(shared.taken, Shape::kFinishers * 32);
    barrier_init_fence();
  }
  __syncthreads();

  // Fills the part of every stage that begins at `offset` with boxes of a map.
  const auto fill = [&](const CUtensorMap& map, int offset, int box_bytes, auto row_of_tile) {
    RingPosition stage;
    for (int tile = 0; tile < own_tiles; ++tile) {
      for (int first = 0; first < boxes; first += kBulkWarps, stage.step(plan.stages)) {
        const int count = min(kBulkWarps, boxes - first);
        unsigned char* to = ring + stage.at * stage_bytes + offset;
        wait(shared.empty[stage.at], stage.phase ^ 1);
        arrive_expecting(shared.full[stage.at], count * box_bytes);
        for (int i = 0; i < count; ++i) {
          copy_box(to + i * box_bytes, map, shared.full[stage.at], (first + i) * kBoxBytes,
                   row_of_tile(tile));
        }
      }
    }
  };
  if (warp == kBulkWarps) {
    if (lane == 0) {
      if (!p.settled) wait_for_predecessor();
      fill(weight_map, 0, weight_box,
           [&](int tile) { return static_cast<int>(first_column) + tile * plan.tile; });
    }
    wait_for_predecessor();
    return;
  }

  wait_for_predecessor();
  if (warp == kBulkWarps + 1) {
    if (lane == 0) fill(x_map, kBulkWarps * weight_box, Shape::kXBox, [](int) { return 0; });
    return;
  }

  // The weights of outliers are among those that are multiplied, where this warp picks them out. Read
  // from device memory they would come behind all weights that are under way.
  if (warp == kBulkWarps + 2) {
    float scale = lane < min(plan.tile, own_columns) ? p.weight_scales[first_column + lane] : 0.0f;
    const BulkOutliers outliers(p, lane);
    const int slot = outliers.column >= 0 ? p.slot_of(outliers.column) : -1;
    const OutlierInputs<Shape::kRows> inputs(p, outliers, lane);
    const unsigned kept = __ballot_sync(kFullWarp, slot >= 0);
    RingPosition stage;
    for (int tile = 0; tile < own_tiles; ++tile) {
      const bool inside = lane < min(plan.tile, own_columns - tile * plan.tile);
      const int64_t column = first_column + tile * plan.tile + lane;
      if (tile > 0 && inside) scale = p.weight_scales[column];
      auto& weights = shared.terms.weight[tile & 1];
      for (unsigned left = kept; left; left &= left - 1) {
        const int place = __ffs(static_cast<int>(left)) - 1;
        const int from = __shfl_sync(kFullWarp, slot, place);
        if (inside) weights[place][lane] = p.kept[from * p.columns + column];
      }
      for (int slice = 0; slice < slices; ++slice, stage.step(plan.stages)) {
        const int byte = outliers.column - slice * kSliceBytes;
        const bool here = outliers.column >= 0 && byte >= 0 && byte < kSliceBytes;
        unsigned found = __ballot_sync(kFullWarp, here) & ~kept;
        wait(shared.full[stage.at], stage.phase);
        for (; found; found &= found - 1) {
          const int place = __ffs(static_cast<int>(found)) - 1;
          const int at = __shfl_sync(kFullWarp, byte, place);
          const unsigned char* box = ring + stage.at * stage_bytes + at / kBoxBytes * weight_box;
          if (inside) {
            weights[place][lane] =
                p.weight_of(static_cast<int8_t>(box[box_offset(lane, at % kBoxBytes)]), scale);
          }
        }
        __syncwarp();
        if (lane == 0) arrive(shared.empty[stage.at]);
      }
      if (tile == 0) {
        inputs.place(shared.terms, outliers, lane);
      } else {
        wait(shared.taken, (tile - 1) & 1);
      }
      arrive(shared.done);
    }
    return;
  }

  if (warp > kBulkWarps) {
    constexpr int kThreads = Shape::kFinishers * 32, kEach = Shape::kFinishedRows;
    const int finisher = warp - kBulkWarps - Shape::kHelpers;
    float weight_scale = 0, bias = 0;
    const auto load = [&](int tile) {
      if (finisher > 0 || tile >= own_tiles) return;
      const int64_t column = first_column + min(tile * plan.tile + lane, own_columns - 1);
      weight_scale = p.weight_scales[column];
      if (p.bias.data) bias = p.bias[column];
    };
    load(0);
    for (int tile = 0; tile < own_tiles; ++tile) {
      if (finisher == 0) {
        shared.terms.weight_scale[lane] = weight_scale;
        shared.terms.bias[lane] = bias;
      }
      load(tile + 1);  // under way while this tile is finished
      named_sync<1, kThreads>();
      wait(shared.done, tile & 1);
      int32_t sums[kEach] = {};
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int row = finisher + i * Shape::kFinishers;
        if (row >= p.rows) break;
#pragma unroll
        for (int w = 0; w < kBulkWarps; ++w) sums[i] += shared.sums[w][row][lane];
      }
      const int column = tile * plan.tile + lane;
      if (finisher < p.rows && lane < plan.tile && column < own_columns) {
        store_results<Shape::kFinishers>(p, shared.terms, tile, first_column + column, lane,
                                         finisher, sums);
      }
      arrive(shared.taken);
      named_sync<1, kThreads>();  // nobody reads the terms any more
    }
    return;
  }

  constexpr int kOperands = kBulkTile / 16;
  const int group = lane / 4, part = lane % 4;
  const int row = box_row_of(group);
  // Of a thread's two pieces of 16 bytes in a row of a box.
  const int in_box[2] = {box_offset(row, part * 16), box_offset(row, part * 16 + 64)};
  RingPosition stage;
  for (int tile = 0; tile < own_tiles; ++tile) {
    int32_t sums[kOperands][BatchTiles][4] = {};
    for (int box = warp; box < slices * kBulkWarps; box += kBulkWarps, stage.step(plan.stages)) {
      wait(shared.full[stage.at], stage.phase);
      if (box < boxes) {
        const unsigned char* const from = ring + stage.at * stage_bytes;
        const unsigned char* const weight = from + warp * weight_box;
        const unsigned char* const x = from + kBulkWarps * weight_box + warp * Shape::kXBox;
        uint4 rows[kOperands * 2][2], columns[BatchTiles][2];
#pragma unroll
        for (int i = 0; i < kOperands * 4; ++i) {
          rows[i / 2][i % 2] = uint4{0, 0, 0, 0};
          if (i / 2 * 8 < plan.tile) {
            rows[i / 2][i % 2] =
                *reinterpret_cast<const uint4*>(weight + i / 2 * 8 * kBoxBytes + in_box[i % 2]);
          }
        }
#pragma unroll
        for (int i = 0; i < BatchTiles * 2; ++i) {
          columns[i / 2][i % 2] =
              *reinterpret_cast<const uint4*>(x + i / 2 * 8 * kBoxBytes + in_box[i % 2]);
        }
#pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
#pragma unroll
          for (int i = 0; i < kOperands; ++i) {
            const uint4 &upper = rows[2 * i][piece], &lower = rows[2 * i + 1][piece];
#pragma unroll
            for (int j = 0; j < BatchTiles; ++j) {
              const uint4& four = columns[j][piece];
              Mma<int8_t>::multiply(sums[i][j], upper.x, lower.x, upper.y, lower.y, four.x, four.y);
              Mma<int8_t>::multiply(sums[i][j], upper.z, lower.z, upper.w, lower.w, four.z, four.w);
            }
          }
        }
      }
      __syncwarp();
      if (lane == 0) arrive(shared.empty[stage.at]);
    }
    if (tile > 0) wait(shared.taken, (tile - 1) & 1);
#pragma unroll
    for (int i = 0; i < kOperands; ++i) {
#pragma unroll
      for (int j = 0; j < BatchTiles; ++j) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          shared.sums[warp][j * 8 + box_row_of(part * 2 + k % 2)][i * 16 + k / 2 * 8 + row] =
              sums[i][j][k];
        }
      }
    }
    arrive(shared.done);
  }
#endif
}

}  // namespace fewbit::cuda::int8
