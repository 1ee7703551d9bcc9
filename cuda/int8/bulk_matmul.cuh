// linear_int8 for up to sixteen rows on sm_90, limited by the bandwidth of the weights.
//
// One block to a multiprocessor, each with an equal share of the rows of W, up to 32 at a time (a tile;
// operands of the mma, of which rows of X are the columns). A tile comes in slices of K through a ring
// of stages in shared memory, by bulk copies of boxes, one for each warp: they need no registers, and
// those of W are under way before the kernels ahead of this one have ended. Further warps fill the
// stages and see to the outliers; others add up what the warps found of a tile, exact in any order, and
// store it. Whoever waits for a stage waits for each of its uses, since a barrier tells only two in a
// row apart.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/mma.cuh"
#include "bulk_shape.cuh"

namespace fewbit::cuda::int8 {

template <int Rows>
__global__ __launch_bounds__(
    BulkShape<Rows>::kThreads,
    BulkShape<Rows>::kMinBlocks) void bulk_matmul(const __grid_constant__ CUtensorMap weight_map,
                                                  const __grid_constant__ CUtensorMap x_map,
                                                  const Product p, const BulkPlan plan) {
#if __CUDA_ARCH__ >= 900
  using namespace hopper;
  using Shape = BulkShape<Rows>;
  extern __shared__ unsigned char shared_bytes[];
  auto* const ring = reinterpret_cast<unsigned char*>(
      (reinterpret_cast<uintptr_t>(shared_bytes) + 1023) & ~uintptr_t{1023});
  const int weight_box = plan.tile * kBoxBytes;
  const int stage_bytes = Shape::stage_bytes(plan.tile);
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(ring + plan.stages * stage_bytes);
  auto* const sums_of_tile = reinterpret_cast<int32_t*>(&shared + 1);
  const int warp = hopper::warp_number(), lane = threadIdx.x % 32;
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
    barrier_init(shared.released, 1);
    barrier_init(shared.found, 32);
    barrier_init_fence();
  }
  __syncthreads();

  // Calls fetch(stage, its barrier, tile, first byte of K) for every stage, as they become empty.
  const auto fill = [&](auto fetch) {
    RingPosition stage;
    for (int tile = 0; tile < own_tiles; ++tile) {
      for (int slice = 0; slice < slices; ++slice, stage.step(plan.stages)) {
        wait(shared.empty[stage.at], stage.phase ^ 1);
        fetch(ring + stage.at * stage_bytes, shared.full[stage.at], tile, slice * kSliceBytes);
      }
    }
  };
  const auto copy_boxes = [&](unsigned char* to, const CUtensorMap& map, uint64_t& full,
                              int box_bytes, int first_byte, int row) {
    const int count = min(kBulkWarps, boxes - first_byte / kBoxBytes);
    arrive_expecting(full, count * box_bytes);
    for (int i = 0; i < count; ++i) {
      copy_box(to + i * box_bytes, map, full, first_byte + i * kBoxBytes, row);
    }
  };
  if (warp == kBulkWarps) {
    if (elect_one()) {
      if (!p.settled) wait_for_predecessor();
      // Paced while the kernels before still run: what they read would queue behind all of it.
      const int pace = weight_box * kBulkWarps / kPacedBytes;
      const long long start = clock64();
      int later = 0;
      fill([&](unsigned char* stage, uint64_t& full, int tile, int first_byte) {
        const long long due = static_cast<long long>(later++ - 1) * pace;
        while (clock64() - start < due && !ready(shared.released, 0)) __nanosleep(40);
        copy_boxes(stage, weight_map, full, weight_box, first_byte,
                   static_cast<int>(first_column) + tile * plan.tile);
      });
    }
    __syncwarp();
    wait_for_predecessor();
    return;
  }

  if (warp == kBulkWarps + Shape::kHelpers) {
    // They are cold, and would be read when everything else is there.
    constexpr int kLine = 32;
    for (int i = lane * kLine; i < own_columns; i += 32 * kLine) {
      asm volatile("prefetch.global.L2 [%0];" ::"l"(p.weight_scales + first_column + i));
    }
  }
  wait_for_predecessor();
  if (warp == kBulkWarps + 1) {
    if (!elect_one()) return;
    arrive(shared.released);
    fill([&](unsigned char* stage, uint64_t& full, int, int first_byte) {
      unsigned char* const to = stage + kBulkWarps * weight_box;
      if constexpr (Rows == 1) {
        const int bytes = min(kSliceBytes, static_cast<int>(p.depth) - first_byte);
        arrive_expecting(full, bytes);
        copy_bytes(to, p.codes + first_byte, bytes, full);
      } else {
        copy_boxes(to, x_map, full, Shape::kXBox, first_byte, 0);
      }
    });
    return;
  }

  // The weights of outliers are among those that are multiplied, where this warp picks them out. Read
  // from device memory they would come behind all weights that are under way.
  if (warp == kBulkWarps + 2) {
    BulkOutliers outliers(p, shared.terms, lane);
    arrive(shared.found);
    RingPosition stage;
    for (int tile = 0; tile < own_tiles; ++tile) {
      const bool inside = lane < min(plan.tile, own_columns - tile * plan.tile);
      outliers.place_kept(tile, first_column + tile * plan.tile + lane, inside);
      int seen = 0;
      for (int slice = 0; slice < slices; ++slice, stage.step(plan.stages)) {
        const int first_byte = slice * kSliceBytes;
        const int end = outliers.codes_before(first_byte + kSliceBytes);
        wait(shared.full[stage.at], stage.phase);
        const unsigned char* const weight = ring + stage.at * stage_bytes;
        if (inside) {
          outliers.place_codes(tile, seen, end, [&](int column) {
            const int byte = column - first_byte;
            return static_cast<int8_t>(
                weight[byte / kBoxBytes * weight_box + box_offset(lane, byte % kBoxBytes)]);
          });
        }
        seen = end;
        __syncwarp();
        if (lane == 0) arrive(shared.empty[stage.at]);
      }
      if (tile > 0) wait(shared.taken, (tile - 1) & 1);
      arrive(shared.done);
    }
    return;
  }

  if (warp > kBulkWarps) {
    constexpr int kEach = Shape::kFinishedRows;
    const int finisher = warp - kBulkWarps - Shape::kHelpers;
    float next_scale = 0, next_bias = 0;
    const auto load = [&](int tile) {
      if (tile >= own_tiles) return;
      const int64_t column = first_column + min(tile * plan.tile + lane, own_columns - 1);
      next_scale = p.weight_scales[column];
      if (p.bias.data) next_bias = p.bias[column];
    };
    load(0);
    const BulkRows<Shape::kFinishers, kEach> rows(p, finisher);
    wait(shared.found, 0);
    rows.place_outliers(shared.terms, lane);
    for (int tile = 0; tile < own_tiles; ++tile) {
      const float weight_scale = next_scale, bias = next_bias;
      load(tile + 1);  // under way while this tile is finished
      wait(shared.done, tile & 1);
      int32_t sums[kEach] = {};
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int row = finisher + i * Shape::kFinishers;
        if (row >= p.rows) break;
#pragma unroll
        for (int w = 0; w < kBulkWarps; ++w) {
          if (lane < plan.tile) sums[i] += sums_of_tile[Shape::sums_at(plan.tile, w, row) + lane];
        }
      }
      const int column = tile * plan.tile + lane;
      if (finisher < p.rows && lane < plan.tile && column < own_columns) {
        rows.store(shared.terms, tile, first_column + column, lane, weight_scale, bias, sums);
      }
      arrive(shared.taken);
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
    int32_t sums[kOperands][Shape::kBatchTiles][4] = {};
    for (int box = warp; box < slices * kBulkWarps; box += kBulkWarps, stage.step(plan.stages)) {
      wait(shared.full[stage.at], stage.phase);
      if (box < boxes) {
        const unsigned char* const from = ring + stage.at * stage_bytes;
        const unsigned char* const weight = from + warp * weight_box;
        const unsigned char* const x = from + kBulkWarps * weight_box + warp * Shape::kXBox;
#pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
          uint4 rows[kOperands * 2], columns[Shape::kBatchTiles];
#pragma unroll
          for (int i = 0; i < kOperands * 2; ++i) {
            rows[i] = uint4{0, 0, 0, 0};
            if (i * 8 < plan.tile) {
              rows[i] = *reinterpret_cast<const uint4*>(weight + i * 8 * kBoxBytes + in_box[piece]);
            }
          }
          // A single row is no box, and every group of lanes reads it.
          const int of_x = Rows == 1 ? part * 16 + piece * 64 : in_box[piece];
#pragma unroll
          for (int j = 0; j < Shape::kBatchTiles; ++j) {
            columns[j] = *reinterpret_cast<const uint4*>(x + j * 8 * kBoxBytes + of_x);
          }
#pragma unroll
          for (int i = 0; i < kOperands; ++i) {
            const uint4 &upper = rows[2 * i], &lower = rows[2 * i + 1];
#pragma unroll
            for (int j = 0; j < Shape::kBatchTiles; ++j) {
              const uint4& four = columns[j];
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
      for (int j = 0; j < Shape::kBatchTiles; ++j) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (Rows == 1 && (part > 0 || k % 2 > 0)) continue;
          const int in_tile = i * 16 + k / 2 * 8 + row;
          if (in_tile >= plan.tile) continue;
          const int x_row = Rows == 1 ? 0 : j * 8 + box_row_of(part * 2 + k % 2);
          sums_of_tile[Shape::sums_at(plan.tile, warp, x_row) + in_tile] = sums[i][j][k];
        }
      }
    }
    arrive(shared.done);
  }
#endif
}

}  // namespace fewbit::cuda::int8
