// x W^T with few-bit W for one row x on sm_90, limited by the bandwidth of the weights.
//
// Each block has an equal share of W's rows, 16 at a time (a tile, one operand of the mma; x is every
// column of the other). A tile's codes come in slices of K through a ring of stages in shared memory, by
// bulk copies: they need no registers, and are under way before the kernel's predecessor has ended. Of a
// slice each warp multiplies two pieces of 128 positions, so that one's loads hide behind the other's
// products. Two more warps serve them: one fills the stages; the other makes scales and zero points
// ready, adds up what the warps found of a tile, in fixed order, and stores it.
//
// What is needed first is asked for first: scales of the first tiles, a few stages, x, then all other
// stages. Behind as many codes as there is room for, the rest would come late.
//
// Sums of a piece are of codes times x, in integers (limbs.cuh); the scale follows in f32, after the zero
// point's share, which is the sum of x over the piece. So groups must consist of whole pieces.
#pragma once

#include "../common/dependency.cuh"
#include "bulk_codes.cuh"
#include "bulk_grids.cuh"
#include "bulk_x.cuh"

namespace fewbit::cuda::gptq {

template <class T, int Bits, int Warps>
__global__ __launch_bounds__(bulk_threads(Warps), Warps <= 8 ? 2 : 1) void bulk_matmul(
    const __grid_constant__ CUtensorMap low_map, const __grid_constant__ CUtensorMap high_map,
    const LinearGptq p, const BulkPlan plan, const float to_group) {
#if __CUDA_ARCH__ >= 900
  using Slice = BulkSlice<Bits, Warps>;
  using namespace hopper;
  // As the swizzle of the copies asks; at K = 28672 there is no room to align it here.
  extern __shared__ __align__(1024) unsigned char ring[];
  auto& shared = *reinterpret_cast<BulkShared*>(ring + plan.stages * Slice::kStageBytes);
  auto* fetched = reinterpret_cast<unsigned char*>(&shared + 1);  // scales, then zero points
  auto* x = reinterpret_cast<uint32_t*>(
      fetched + plan.fetched * (plan.scales_bytes + plan.zeros_bytes));  // in limbs
  const int pairs = plan.slices * Warps, pieces = plan.slices * Slice::kPieces;
  const int grid_count = pieces * kGridStride;
  auto* columns = reinterpret_cast<LimbColumns*>(x + pairs * kLimbWords);  // [pairs][4]
  auto* grids = reinterpret_cast<BulkGrid*>(columns + pairs * 4);          // [slots][pieces][rows]
  auto* sums = reinterpret_cast<float*>(grids + plan.slots * grid_count);  // [slots][warps][tile]

  const Weight& w = p.weight;
  const int warp = warp_number(), lane = threadIdx.x % 32;
  const int64_t tiles = w.rows / kBulkTile;
  const auto first_tile = static_cast<int>(tiles * blockIdx.x / gridDim.x);
  const int own_tiles = static_cast<int>(tiles * (blockIdx.x + 1) / gridDim.x) - first_tile;
  // Barriers can be used; x has been asked for.
  const auto begin = [] { named_arrive<1, bulk_threads(Warps)>(); };
  const auto wait_for_begin = [] { named_sync<1, bulk_threads(Warps)>(); };
  const auto say_asked = [] { named_arrive<2, (Warps + 1) * 32>(); };
  const auto wait_for_asked = [] { named_sync<2, (Warps + 1) * 32>(); };
  start_successor();

  // Weights may be read before the kernel's predecessor has ended: they are constants of a captured
  // graph, and outside of one the launch does not overlap.
  if (warp == Warps) {
    BulkCodes<Bits, Warps> codes(low_map, high_map, w, plan, shared, ring, first_tile * kBulkTile);
    const int slices = own_tiles * plan.slices;
    if (elect_one()) {
      for (int i = 0; i < plan.stages; ++i) {
        barrier_init(shared.full[i], 1);
        barrier_init(shared.empty[i], Warps);
      }
      barrier_init_fence();
    }
    __syncwarp();
    begin();
    if (elect_one()) codes.fill(min(plan.early, slices));
    __syncwarp();
    wait_for_asked();
    if (elect_one()) codes.fill(slices);
    __syncwarp();
    wait_for_predecessor();
    return;
  }

  if (warp > Warps) {
    BulkGrids next(w, plan, shared, fetched, first_tile, own_tiles);
    if (elect_one()) {
      for (int i = 0; i < plan.fetched; ++i) barrier_init(shared.came[i], 1);
      barrier_init_fence();
      next.fetch_first();
      for (int i = 0; i < plan.slots; ++i) {
        barrier_init(shared.ready[i], 32);
        barrier_init(shared.done[i], Warps * 32);
      }
      barrier_init_fence();
    }
    __syncwarp();
    begin();
    const auto prepare = [&](int slot) {
      next.prepare(pieces, to_group, grids + slot * grid_count);
      arrive(shared.ready[slot]);
    };
    for (int tile = 0; tile < min(plan.slots, own_tiles); ++tile) prepare(tile);
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
      if (tile + plan.slots < own_tiles) prepare(slot.at);
      slot.step(plan.slots);
    }
    return;
  }

  wait_for_predecessor();
  put_x<T, Bits, Warps>(p, plan.slices, x, columns, say_asked);
  wait_for_begin();

  const int group = lane / 4, part = lane % 4, tile_row = tile_row_of(group);
  const int weight = limb_weight(part);
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
