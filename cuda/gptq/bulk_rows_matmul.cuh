// X W^T with few-bit W for 2 to 16 rows of X on sm_90, limited by the bandwidth of the weights.
//
// A block has a slice of K and an equal share of W's rows, 16 at a time (a tile, one operand of the mma).
// Of the slice each warp has two pieces of 128 positions, and keeps what X has there in registers, while
// the codes of its tiles come through a ring of stages in shared memory: by bulk copies, which are under
// way before the kernel's predecessor has ended. What the warps find of a tile they add up together a
// tile later, in fixed order; where K has several slices, the last block to end of those that share rows
// adds up theirs.
//
// Sums of a piece are of codes times x; the scale follows in f32, after the zero point's share, which is
// the sum of x over the piece. So groups must consist of whole pieces.
#pragma once

#include "../common/dependency.cuh"
#include "../common/hopper.cuh"
#include "bulk_rows_shared.cuh"

namespace fewbit::cuda::gptq {

template <class T, int Bits, int Rows>
__global__ __launch_bounds__(kRowsThreads,
                             1) void bulk_rows_matmul(const __grid_constant__ CUtensorMap low_map,
                                                      const __grid_constant__ CUtensorMap high_map,
                                                      const LinearGptq p, const RowsPlan plan) {
#if __CUDA_ARCH__ >= 900
  using Slice = BulkSlice<Bits, kRowsWarps>;
  using Shared = RowsShared<Rows>;
  using Sums = RowsSums<Rows>;
  constexpr int kBatchTiles = Shared::kBatchTiles;
  using Product = FieldProduct<T, Bits, kBatchTiles>;
  using namespace hopper;
  extern __shared__ unsigned char shared_bytes[];
  unsigned char* ring = shared_bytes + (-shared_address(shared_bytes) & 1023u);
  auto& shared = *reinterpret_cast<Shared*>(ring + plan.stages * Slice::kStageBytes);

  const Weight& w = p.weight;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const auto tiles = static_cast<int>(w.rows / kBulkTile);
  const int shares = static_cast<int>(gridDim.x) / plan.slices;
  const int slice = static_cast<int>(blockIdx.x) / shares;
  const int share = static_cast<int>(blockIdx.x) % shares;
  const auto first_tile = static_cast<int>(int64_t{tiles} * share / shares);
  const int own_tiles = static_cast<int>(int64_t{tiles} * (share + 1) / shares) - first_tile;

  // Boxes of a plane of which this slice has bytes.
  const auto boxes_of = [&](int width, int most) {
    const auto bytes = static_cast<int>(w.row_bytes(width)) - slice * most * 128;
    return min(most, (bytes + 127) / 128);
  };
  const int low_boxes = boxes_of(Slice::kWidth, plan.low_boxes);
  const int high_boxes = Bits == 3 ? boxes_of(1, plan.high_boxes) : 0;
  // Starts the warp's share of the copies of a tile's codes: one box, since starting one takes a while.
  // Weights may be read before the kernel's predecessor has ended: they are constants of a captured graph,
  // and outside of one the launch does not overlap.
  static_assert(Slice::kLowBoxes + Slice::kHighBoxes <= kRowsWarps);
  const auto fill = [&](int tile, int stage) {
    if (lane > 0) return;
    const int row = (first_tile + tile) * kBulkTile;
    uint64_t& full = shared.full[stage];
    unsigned char* to = ring + stage * Slice::kStageBytes + warp * Slice::kBoxBytes;
    if (warp == 0) arrive_expecting(full, (low_boxes + high_boxes) * Slice::kBoxBytes);
    if (warp < low_boxes) {
      copy_box(to, low_map, full, (slice * plan.low_boxes + warp) * 128, row);
    } else if (Bits == 3 && warp >= Slice::kLowBoxes && warp < Slice::kLowBoxes + high_boxes) {
      copy_box(to, high_map, full, (slice * plan.high_boxes + warp - Slice::kLowBoxes) * 128, row);
    }
  };
  start_successor();
  if (threadIdx.x == 0) {
    prefetch_map(low_map);
    if (Bits == 3) prefetch_map(high_map);
    for (int i = 0; i < plan.stages; ++i) barrier_init(shared.full[i], 1);
    for (int i = 0; i < kSumSlots; ++i) barrier_init(shared.done[i], kRowsThreads);
    barrier_init_fence();
  }
  __syncthreads();
  // The rest waits until x is on its way, which else would come after all of it.
  const int first_fills = min(plan.stages, own_tiles), early = min(first_fills, kEarlyFills);
  for (int i = 0; i < early; ++i) fill(i, i);
  __syncwarp();

  const int group = lane / 4, part = lane % 4, tile_row = tile_row_of(group);
  const auto piece_of = [&](int i) { return slice * plan.slice_pieces + i * kRowsWarps + warp; };

  // Of the warp's pieces of a tile each lane prepares one row's scale and zero point.
  static_assert(kWarpPieces * kBulkTile == 32);
  const int64_t tile_grids = int64_t{kBulkTile} * w.groups;
  const int grid_piece = min(piece_of(lane / kBulkTile), plan.pieces - 1);
  const int64_t first_grid =
      first_tile * tile_grids + int64_t{lane % kBulkTile} * w.groups +
      static_cast<int>((static_cast<float>(grid_piece) + 0.5f) * plan.to_group);
  const auto* scale_at = static_cast<const uint16_t*>(w.scales) + first_grid;
  const uint8_t* zero_at = w.zeros + first_grid;
  uint16_t next_scale = *scale_at;
  uint8_t next_zero = *zero_at;
  const bool is_bf16 = w.scales_dtype == DType::BF16;

  wait_for_predecessor();
  uint32_t x[kWarpPieces][kBatchTiles][kPairs];
#pragma unroll
  for (int i = 0; i < kWarpPieces; ++i) {
    const bool own = i * kRowsWarps + warp < plan.slice_pieces;
    const int64_t begin = int64_t{piece_of(i)} * kBulkPiece + part * kChunk;
#pragma unroll
    for (int tile = 0; tile < kBatchTiles; ++tile) {
      // Rows past the last repeat it; their sums go nowhere.
      const T* from =
          static_cast<const T*>(p.x) + min(int64_t{tile * 8 + group}, p.rows - 1) * p.depth + begin;
#pragma unroll
      for (int j = 0; j < kPairs; j += 4) {
        uint4 four{0, 0, 0, 0};
        if (own && begin + j * 2 < p.depth) four = *reinterpret_cast<const uint4*>(from + j * 2);
        // So that words come to lie in registers as products take them, once for all tiles.
        x[i][tile][Product::place(j)] = four.x ^ plan.zero;
        x[i][tile][Product::place(j + 1)] = four.y ^ plan.zero;
        x[i][tile][Product::place(j + 2)] = four.z ^ plan.zero;
        x[i][tile][Product::place(j + 3)] = four.w ^ plan.zero;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kWarpPieces; ++i) {
    float sums[kBatchTiles][4] = {};
    Product::sum_up(x[i], sums);
#pragma unroll
    for (int tile = 0; tile < kBatchTiles; ++tile) {
      if (group == 0)
        shared.x_sums[warp][i][tile * 4 + part] = float2{sums[tile][0], sums[tile][1]};
    }
  }

  for (int i = early; i < first_fills; ++i) fill(i, i);
  __syncwarp();

  // Adds up what all warps found of a tile, and gives its stage to another tile.
  const auto finish = [&](int tile, int stage) {
    const int slot = tile % kSumSlots;
    wait(shared.done[slot], static_cast<uint32_t>(tile / kSumSlots & 1));
    if (tile + plan.stages < own_tiles) fill(tile + plan.stages, stage);
    __syncwarp();
    // A warp has a row of X, half a warp every other warp's share.
    const int place = (warp + tile * Rows) % kRowsWarps;
    if (place >= Rows) return;
    float sum = shared.sums.total(slot, place, lane);
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    const int row = Sums::row_at(place);
    const int column = (first_tile + tile) * kBulkTile + lane / 8 % 2 * 8 + tile_row_of(lane % 8);
    if (lane >= kBulkTile || row >= p.rows) return;
    if (plan.slices > 1) {
      __stcg(plan.partial + (int64_t{slice} * Rows + row) * w.rows + column, sum);
    } else {
      store_output(p, row, column, sum);
    }
  };

  // Where the thread finds its first chunk in a stage, and what else it needs: kept, rather than computed
  // for each tile.
  uint32_t low_at =
      shared_address(ring) + chunk_offset<Slice, Slice::kWidth>(tile_row, warp * 4 + part);
  uint32_t high_at = shared_address(ring) + Slice::kLowBoxes * Slice::kBoxBytes +
                     chunk_offset<Slice, 1>(tile_row, warp * 4 + part);
  uint32_t sums_at = shared_address(shared.sums.of[0][warp]) + Sums::offset(group, part);
  uint32_t grids_at = shared_address(&shared.grids[warp][tile_row]);
  uint32_t x_sums_at = shared_address(&shared.x_sums[warp][0][part]);
  asm volatile("" : "+r"(low_at), "+r"(high_at), "+r"(sums_at), "+r"(grids_at), "+r"(x_sums_at));
  RingPosition stage;
  int stage_before = 0;
  for (int tile = 0; tile < own_tiles; ++tile) {
    shared.grids[warp][lane] = float2{(is_bf16 ? __uint_as_float(uint32_t{next_scale} << 16)
                                               : __half2float(__ushort_as_half(next_scale))) *
                                          Product::kUnit,
                                      -(static_cast<float>(next_zero) + Product::kOffset)};
    if (tile + 1 < own_tiles) {
      scale_at += tile_grids;
      zero_at += tile_grids;
      next_scale = *scale_at;
      next_zero = *zero_at;
    }
    __syncwarp();
    wait(shared.full[stage.at], stage.phase);
    float totals[kBatchTiles][4] = {};
#pragma unroll
    for (int i = 0; i < kWarpPieces; ++i) {
      constexpr uint32_t kEightRows = 8 * 128, kPieceBoxes = kRowsWarps * kBulkPiece / 8 / 128;
      const uint32_t to_stage = stage.at * Slice::kStageBytes;
      const uint32_t low = low_at + to_stage + i * kPieceBoxes * Slice::kWidth * Slice::kBoxBytes,
                     high = high_at + to_stage + i * kPieceBoxes * Slice::kBoxBytes;
      Product product;
      product.add(staged_chunk<Slice, Bits>(low, high),
                  staged_chunk<Slice, Bits>(low + kEightRows, high + kEightRows), x[i]);
      const float2 upper = load_shared_floats(grids_at + i * kBulkTile * 8),
                   lower = load_shared_floats(grids_at + (i * kBulkTile + 8) * 8);
#pragma unroll
      for (int batch = 0; batch < kBatchTiles; ++batch) {
        const float2 sum_of_x = load_shared_floats(x_sums_at + (i * kBatchTiles + batch) * 4 * 8);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 grid = j < 2 ? upper : lower;
          const float sum = fmaf(grid.y, j % 2 ? sum_of_x.y : sum_of_x.x, product.sum(batch, j));
          totals[batch][j] = fmaf(grid.x, sum, totals[batch][j]);
        }
      }
    }
    Sums::put(sums_at + tile % kSumSlots * Sums::kSlotBytes, totals);
    arrive(shared.done[tile % kSumSlots]);
    __syncwarp();  // before the next tile's scales
    if (tile > 0) finish(tile - 1, stage_before);
    stage_before = stage.at;
    stage.step(plan.stages);
  }
  finish(own_tiles - 1, stage_before);

  if (plan.slices == 1) return;
  if (!last_of_share(plan, share, shared.last)) return;
  add_slices<Rows>(p, plan, first_tile * kBulkTile, own_tiles * kBulkTile);
#endif
}

}  // namespace fewbit::cuda::gptq
