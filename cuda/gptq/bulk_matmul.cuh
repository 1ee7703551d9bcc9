// x W^T with few-bit W for one row x on sm_90, limited by the bandwidth of the weights.
//
// Each block has an equal share of W's rows, 16 at a time (a tile, one operand of the mma; x is every
// column of the other). A tile's codes come in slices of K through a ring of stages in shared memory, by
// bulk copies: they need no registers, and are under way before the kernel's predecessor has ended. Of a
// slice each warp multiplies two pieces of 128 positions, so that one's loads hide behind the other's
// products. Two more warps serve them: one fills the stages; the other makes scales and zero points
// ready, adds up what the warps found of a tile, in fixed order, and stores it.
//
// Sums of a piece are of codes times x, in integers (limbs.cuh); the scale follows in f32, after the zero
// point's share, which is the sum of x over the piece. So groups must consist of whole pieces.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/reduce.cuh"
#include "bulk_stages.cuh"
#include "limbs.cuh"

namespace fewbit::cuda::gptq {

template <class T, int Bits, int Warps>
__global__ __launch_bounds__(bulk_threads(Warps), Warps <= 8 ? 2 : 1) void bulk_matmul(
    const __grid_constant__ CUtensorMap low_map, const __grid_constant__ CUtensorMap high_map,
    const LinearGptq p, const BulkPlan plan, const float to_group) {
#if __CUDA_ARCH__ >= 900
  using Slice = BulkSlice<Bits, Warps>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  // In a way that leaves the compiler knowing what memory this is.
  unsigned char* ring = shared_bytes + (-shared_address(shared_bytes) & 1023u);
  auto& shared = *reinterpret_cast<BulkShared*>(ring + plan.stages * Slice::kStageBytes);
  auto* scales = reinterpret_cast<unsigned char*>(&shared + 1);  // as in memory
  unsigned char* zeros = scales + plan.slots * plan.scales_bytes;
  auto* x = reinterpret_cast<uint32_t*>(zeros + plan.slots * plan.zeros_bytes);  // in limbs
  const int pairs = plan.slices * Warps, grid_count = plan.slices * Slice::kPieces * kGridStride;
  auto* columns = reinterpret_cast<LimbColumns*>(x + pairs * kLimbWords);  // [pairs][4]
  auto* grids = reinterpret_cast<BulkGrid*>(columns + pairs * 4);          // [slots][pieces][rows]
  auto* sums = reinterpret_cast<float*>(grids + plan.slots * grid_count);  // [slots][warps][tile]

  const Weight& w = p.weight;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t tiles = w.rows / kBulkTile;
  const auto first_tile = static_cast<int>(tiles * blockIdx.x / gridDim.x);
  const int own_tiles = static_cast<int>(tiles * (blockIdx.x + 1) / gridDim.x) - first_tile;
  start_successor();
  if (warp == Warps && lane == 0) {
    prefetch_map(low_map);
    if (Bits == 3) prefetch_map(high_map);
    for (int i = 0; i < plan.stages; ++i) {
      barrier_init(shared.full[i], 1);
      barrier_init(shared.empty[i], Warps);
    }
    for (int i = 0; i < plan.slots; ++i) {
      barrier_init(shared.came[i], 1);
      barrier_init(shared.ready[i], 32);
      barrier_init(shared.done[i], Warps * 32);
    }
    barrier_init_fence();
  }
  __syncthreads();

  if (warp == Warps) {
    // Weights may be read before the kernel's predecessor has ended: they are constants of a captured
    // graph, and outside of one the launch does not overlap.
    if (lane == 0) {
      RingPosition stage;
      int slot = 0, filled = 0;
      for (int tile = 0; tile < own_tiles; ++tile) {
        const int row = (first_tile + tile) * kBulkTile;
        for (int slice = 0; slice < plan.slices; ++slice) {
          if (filled >= plan.stages) wait(shared.empty[stage.at], stage.phase ^ 1);
          uint64_t& full = shared.full[stage.at];
          const auto boxes_of = [&](int width, int most) {
            const auto bytes = static_cast<int>(w.row_bytes(width)) - slice * most * 128;
            return min(most, (bytes + 127) / 128);
          };
          const int low_boxes = boxes_of(Slice::kWidth, Slice::kLowBoxes);
          const int high_boxes = Bits == 3 ? boxes_of(1, Slice::kHighBoxes) : 0;
          arrive_expecting(full, (low_boxes + high_boxes) * Slice::kBoxBytes);
          unsigned char* to = ring + stage.at * Slice::kStageBytes;
          for (int i = 0; i < low_boxes; ++i) {
            copy_box(to + i * Slice::kBoxBytes, low_map, full, (slice * Slice::kLowBoxes + i) * 128,
                     row);
          }
          for (int i = 0; i < high_boxes; ++i) {
            copy_box(to + (Slice::kLowBoxes + i) * Slice::kBoxBytes, high_map, full,
                     (slice * Slice::kHighBoxes + i) * 128, row);
          }
          if (slice == 0) {
            const int64_t at = int64_t{row} * w.groups;
            uint64_t& came = shared.came[slot];
            arrive_expecting(came, plan.scales_bytes + plan.zeros_bytes);
            copy_bytes(scales + slot * plan.scales_bytes,
                       static_cast<const uint16_t*>(w.scales) + at, plan.scales_bytes, came);
            copy_bytes(zeros + slot * plan.zeros_bytes, w.zeros + at, plan.zeros_bytes, came);
          }
          stage.step(plan.stages);
          ++filled;
        }
        if (++slot == plan.slots) slot = 0;
      }
    }
    wait_for_predecessor();
    return;
  }

  if (warp > Warps) {
    const auto prepare_grids = [&](int slot, uint32_t phase) {
      wait(shared.came[slot], phase);
      const auto* from = reinterpret_cast<const uint16_t*>(scales + slot * plan.scales_bytes);
      const unsigned char* from_zeros = zeros + slot * plan.zeros_bytes;
      // Lanes along a row's pieces: both the loads and the stores then use all banks.
      // A piece past the end of a row, of which x is zero, has another's.
      for (int piece = lane; piece < plan.slices * Slice::kPieces; piece += 32) {
        const int group =
            static_cast<int>((static_cast<float>(min(piece, plan.pieces - 1)) + 0.5f) * to_group);
        uint16_t scale[kBulkTile];
        unsigned char zero[kBulkTile];
#pragma unroll
        for (int row = 0; row < kBulkTile; ++row) {
          scale[row] = from[row * w.groups + group];
          zero[row] = from_zeros[row * w.groups + group];
        }
        BulkGrid* to = grids + slot * grid_count + piece * kGridStride;
#pragma unroll
        for (int row = 0; row < kBulkTile; ++row) {
          to[row] = BulkGrid{scale[row], static_cast<uint16_t>(zero[row] * 16)};
        }
      }
      arrive(shared.ready[slot]);
    };
    for (int tile = 0; tile < min(plan.slots, own_tiles); ++tile) prepare_grids(tile, 0);
    wait_for_predecessor();
    RingPosition slot;
    for (int tile = 0; tile < own_tiles; ++tile) {
      wait(shared.done[slot.at], slot.phase);
      if (lane < kBulkTile) {
        const float* from = sums + slot.at * Warps * kBulkTile + lane;
        float value = 0;
#pragma unroll
        for (int other = 0; other < Warps; ++other) value += from[other * kBulkTile];
        const int column = (first_tile + tile) * kBulkTile + lane;
        if (p.bias) value += load_float(p.bias, p.bias_dtype, column);
        store_float(p.out, p.out_dtype, column, activate(value, p.activation));
      }
      __syncwarp();
      if (tile + plan.slots < own_tiles) prepare_grids(slot.at, slot.phase ^ 1);
      slot.step(plan.slots);
    }
    return;
  }

  // The warp's own pieces of x, into shared memory.
  constexpr int kBatch = 4;  // slices whose loads are under way at a time
  const int group = lane / 4, part = lane % 4, tile_row = tile_row_of(group);
  const int weight = limb_weight(part);
  wait_for_predecessor();
  for (int first = 0; first < plan.slices; first += kBatch) {
    LimbValues values[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int piece = (first + i) * Slice::kPieces + lane / 16 * Warps + warp;
      const int at = piece * kBulkPiece + limb_position<Bits>(lane);
      const auto load = [&](int position) {
        return position < p.depth
                   ? *reinterpret_cast<const uint2*>(static_cast<const T*>(p.x) + position)
                   : uint2{0, 0};
      };
      values[i] = LimbValues{load(at), load(at + kFarValues<Bits>)};
    }
    // Two slices at a time, of which one's latencies hide the other's.
#pragma unroll
    for (int i = 0; i < kBatch; i += 2) {
      if (first + i >= plan.slices) break;
      const bool both = first + i + 1 < plan.slices;
      uint32_t* to = x + ((first + i) * Warps + warp) * kLimbWords;
      const float units[] = {
          put_limbs<T, Bits>(values[i], lane, to, true),
          put_limbs<T, Bits>(values[i + 1], lane, to + Warps * kLimbWords, both)};
      __syncwarp();
      // Twice the first if there is no second.
      const uint32_t from = shared_address(to + limb_words(lane));
      int sums[2];
      sum_limbs(from, both ? from + Warps * kLimbWords * 4 : from, weight, sums);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float unit = __shfl_sync(kFullWarp, units[j], part / 2 * 16);
        if (lane < 4 && (j == 0 || both)) {
          columns[((first + i + j) * Warps + warp) * 4 + part] =
              LimbColumns{sums[j], part % 2 ? unit * 65536 : unit};
        }
      }
    }
  }
  __syncwarp();

  // Where the thread finds its first chunk in a stage, and its first x: kept, rather than computed for each
  // slice.
  uint32_t low_at =
      shared_address(ring) + chunk_offset<Slice, Slice::kWidth>(tile_row, warp * 4 + part);
  uint32_t high_at = shared_address(ring) + Slice::kLowBoxes * Slice::kBoxBytes +
                     chunk_offset<Slice, 1>(tile_row, warp * 4 + part);
  uint32_t x_at = shared_address(x + warp * kLimbWords + limb_words(lane));
  uint32_t columns_at = shared_address(columns + warp * 4 + part);
  asm volatile("" : "+r"(low_at), "+r"(high_at), "+r"(x_at), "+r"(columns_at));
  const int own_grid = (part / 2 * Warps + warp) * kGridStride + tile_row;
  const bool is_bf16 = w.scales_dtype == DType::BF16;
  RingPosition stage, slot;
  for (int tile = 0; tile < own_tiles; ++tile) {
    float totals[2] = {};
    wait(shared.ready[slot.at], slot.phase);
    const BulkGrid* own = grids + slot.at * grid_count + own_grid;
    for (int slice = 0; slice < plan.slices; ++slice) {
      wait(shared.full[stage.at], stage.phase);
      const uint32_t to_stage = stage.at * Slice::kStageBytes;
      uint32_t limbs[8];
      load_limbs(x_at + slice * (Warps * kLimbWords * 4), limbs);
      LimbProduct products[kWarpPieces];
#pragma unroll
      for (int i = 0; i < kWarpPieces; ++i) {
        constexpr uint32_t kEightRows = 8 * 128, kPieceBoxes = Warps * kBulkPiece / 8 / 128;
        const uint32_t low = low_at + to_stage + i * kPieceBoxes * Slice::kWidth * Slice::kBoxBytes,
                       high = high_at + to_stage + i * kPieceBoxes * Slice::kBoxBytes;
        products[i].add(shared_chunk<Bits>(low, high),
                        shared_chunk<Bits>(low + kEightRows, high + kEightRows), limbs);
      }
      const LimbColumns own_columns =
          load_limb_columns(columns_at + slice * (Warps * 4 * sizeof(LimbColumns)));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto sum_of = [&](const LimbProduct& product) {
          return both_columns(product.sum(2 * half), product.sum(2 * half + 1), weight);
        };
        const int codes = part < 2 ? sum_of(products[0]) : sum_of(products[1]);
        const BulkGrid grid = own[half * 8];
        const int sum = codes - grid.zero * own_columns.sum;
        totals[half] =
            fmaf(grid.scale_of(is_bf16) * own_columns.unit, static_cast<float>(sum), totals[half]);
      }
      own += Slice::kPieces * kGridStride;
      __syncwarp();
      if (lane == 0) arrive(shared.empty[stage.at]);
      stage.step(plan.stages);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      totals[half] += __shfl_xor_sync(kFullWarp, totals[half], 1);
      totals[half] += __shfl_xor_sync(kFullWarp, totals[half], 2);
    }
    if (part == 0) {
      float* to = sums + (slot.at * Warps + warp) * kBulkTile + tile_row;
      to[0] = totals[0];
      to[8] = totals[1];
    }
    arrive(shared.done[slot.at]);
    slot.step(plan.slots);
  }
#endif
}

}  // namespace fewbit::cuda::gptq
