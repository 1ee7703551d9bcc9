// x W^T with few-bit W for one row x on sm_90, limited by the bandwidth of the weights.
//
// Each block has an equal share of W's rows, 16 at a time (a tile, one operand of the mma; x is every
// column of the other). A tile's codes come in slices of K through a ring of stages in shared memory, by
// bulk copies: they need no registers, and are under way before the kernel's predecessor has ended. Of a
// slice each warp multiplies two pieces of 128 positions, so that one's loads hide behind the other's
// products. Two more warps serve them: one fills the stages; the other makes scales and zero points
// ready, adds up what the warps found of a tile, in fixed order, and stores it.
//
// Sums of a piece are of codes times x; the scale follows in f32, after the zero point's share, which is
// the sum of x over the piece. So groups must consist of whole pieces.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "../common/reduce.cuh"
#include "bulk_stages.cuh"

namespace fewbit::cuda::gptq {

template <class T, int Bits, int Warps>
__global__ __launch_bounds__(bulk_threads(Warps), Warps <= 8 ? 2 : 1) void bulk_matmul(
    const __grid_constant__ CUtensorMap low_map, const __grid_constant__ CUtensorMap high_map,
    const LinearGptq p, const BulkPlan plan, const float to_group) {
#if __CUDA_ARCH__ >= 900
  using Slice = BulkSlice<Bits, Warps>;
  using Product = FieldProduct<T, Bits>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  // In a way that leaves the compiler knowing what memory this is.
  unsigned char* ring = shared_bytes + (-shared_address(shared_bytes) & 1023u);
  auto& shared = *reinterpret_cast<BulkShared*>(ring + plan.stages * Slice::kStageBytes);
  auto* scales = reinterpret_cast<unsigned char*>(&shared + 1);  // as in memory
  unsigned char* zeros = scales + plan.slots * plan.scales_bytes;
  unsigned char* x = zeros + plan.slots * plan.zeros_bytes;
  auto* x_sums = reinterpret_cast<float*>(x + plan.pieces * kBulkPiece * 2);  // of each piece
  const int grid_count = plan.pieces * kGridStride;
  auto* grids = reinterpret_cast<BulkGrid*>(x_sums + plan.pieces);         // [slots][pieces][rows]
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
      for (int piece = lane; piece < plan.pieces; piece += 32) {
        const int group = static_cast<int>((static_cast<float>(piece) + 0.5f) * to_group);
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
          to[row] = BulkGrid{scale[row],
                             __float2half_rn(static_cast<float>(zero[row]) + Product::kOffset)};
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

  // The warp's own pieces of x in shared memory, in the order of the loads below: of a piece the first
  // eight positions of each lane, then the next. And their sums. Half a warp takes a piece.
  constexpr int kPieceUnits = kBulkPiece / 8;  // of 16 bytes
  constexpr int kBatch = 4;                    // loads under way at a time
  const int in_piece = lane % kPieceUnits;
  wait_for_predecessor();
  for (int first = warp; first < plan.pieces; first += 2 * kBatch * Warps) {
    const int own = first + lane / kPieceUnits * Warps;
    Vector<T> values[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int unit = (own + 2 * i * Warps) * kPieceUnits + in_piece;
      values[i] = Vector<T>{};
      if (unit * 8 < p.depth) values[i] = load_vector(static_cast<const T*>(p.x) + unit * 8);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += to_float(values[i].value[j]);
#pragma unroll
      for (int offset = kPieceUnits / 2; offset > 0; offset /= 2) {
        sum += __shfl_xor_sync(kFullWarp, sum, offset);
      }
      const int piece = own + 2 * i * Warps;
      if (piece < plan.pieces) {
        // Four pairs of a chunk, to where the products take them from.
        const auto* pairs = reinterpret_cast<const uint32_t*>(&values[i]);
        auto* to = reinterpret_cast<uint32_t*>(x) + piece * kPieceUnits * 4 + in_piece / 4 * 4;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int place = Product::place(in_piece % 4 * 4 + j);
          to[place / 4 * 16 + place % 4] = pairs[j];
        }
        if (in_piece == 0) x_sums[piece] = sum / Product::kUnit;
      }
    }
  }
  __syncwarp();

  const int group = lane / 4, part = lane % 4, tile_row = tile_row_of(group);
  // Where the thread finds its first chunk in a stage, and its first x: kept, rather than computed for each
  // slice.
  uint32_t low_at =
      shared_address(ring) + chunk_offset<Slice, Slice::kWidth>(tile_row, warp * 4 + part);
  uint32_t high_at = shared_address(ring) + Slice::kLowBoxes * Slice::kBoxBytes +
                     chunk_offset<Slice, 1>(tile_row, warp * 4 + part);
  uint32_t x_at = shared_address(x) + part * 16;
  asm volatile("" : "+r"(low_at), "+r"(high_at), "+r"(x_at));
  const bool is_bf16 = w.scales_dtype == DType::BF16;
  RingPosition stage, slot;
  for (int tile = 0; tile < own_tiles; ++tile) {
    float totals[2] = {};
    wait(shared.ready[slot.at], slot.phase);
    const BulkGrid* own = grids + slot.at * grid_count + tile_row;
    for (int slice = 0; slice < plan.slices; ++slice) {
      wait(shared.full[stage.at], stage.phase);
      if (warp < plan.pieces) {
        const uint32_t to_stage = stage.at * Slice::kStageBytes;
#pragma unroll
        for (int i = 0; i < kWarpPieces; ++i) {
          constexpr uint32_t kEightRows = 8 * 128, kPieceBoxes = Warps * kBulkPiece / 8 / 128;
          // A piece past the end of a row is computed with another's x, and left out.
          const int piece = slice * Slice::kPieces + i * Warps + warp;
          const int at = piece < plan.pieces ? piece : warp;
          const uint32_t low =
                             low_at + to_stage + i * kPieceBoxes * Slice::kWidth * Slice::kBoxBytes,
                         high = high_at + to_stage + i * kPieceBoxes * Slice::kBoxBytes;
          const Chunk<Bits> upper = staged_chunk<Slice, Bits>(low, high),
                            lower = staged_chunk<Slice, Bits>(low + kEightRows, high + kEightRows);
          uint32_t columns[1][kPairs];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const uint4 four = load_shared_four(x_at + (at * kPieceUnits + j * 4) * 16);
            columns[0][4 * j] = four.x;
            columns[0][4 * j + 1] = four.y;
            columns[0][4 * j + 2] = four.z;
            columns[0][4 * j + 3] = four.w;
          }
          Product product;
          product.add(upper, lower, columns);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const BulkGrid grid = own[at * kGridStride + half * 8];
            const float sum = fmaf(-to_float(grid.zero), x_sums[at], product.sum(0, half * 2));
            if (piece < plan.pieces) totals[half] = fmaf(grid.scale_of(is_bf16), sum, totals[half]);
          }
        }
      }
      __syncwarp();
      if (lane == 0) arrive(shared.empty[stage.at]);
      stage.step(plan.stages);
    }
    if (part == 0) {
      float* to = sums + (slot.at * Warps + warp) * kBulkTile + tile_row;
      to[0] = totals[0] * Product::kUnit;
      to[8] = totals[1] * Product::kUnit;
    }
    arrive(shared.done[slot.at]);
    slot.step(plan.slots);
  }
#endif
}

}  // namespace fewbit::cuda::gptq
