// linear_int8 for one row on sm_90, limited by the bandwidth of the weights. Next to bulk_matmul it keeps
// more of the weight in its ring, since no part of that is X: what it fetches while the kernels ahead of
// it run counts in a model more than how fast it is by itself.
//
// One block to a multiprocessor, each with an equal share of the rows of W, 16 at a time (a tile, one
// operand of the mma; rows of X are columns of the other). A tile comes in slices of K through a ring of
// stages in shared memory, by bulk copies: they need no registers, and are under way before the kernels
// ahead of this one have ended. Of a slice each warp multiplies 128 bytes. One more warp fills the
// stages; others gather what outliers bring to a tile, add up what the warps found of it, exact in any
// order, and store it.
#pragma once

#include "../common/hopper.cuh"
#include "../common/ring_position.cuh"
#include "../common/stream_matmul.cuh"
#include "row_terms.cuh"

namespace fewbit::cuda::int8 {

constexpr int kRowWarps = 8;  // that multiply
constexpr int kRowFinishers = 2;
constexpr int kRowThreads = (kRowWarps + 1 + kRowFinishers) * 32;
constexpr int kRowBatch = 8;                     // rows of X that the mma has; one is there
constexpr int kRowTile = 16;                     // rows of W
constexpr int kRowPart = 128;                    // bytes of K of a warp in a slice
constexpr int kRowSlice = kRowWarps * kRowPart;  // bytes of K
// Two neighbouring rows of a stage start in different halves of the banks.
constexpr int kRowStride = kRowSlice + 64;
constexpr int kRowStages = 11;
constexpr int kRowSlots = 2;  // tiles whose sums are under way

struct RowShared {
  alignas(16) unsigned char stages[kRowStages][kRowTile * kRowStride];
  int32_t sums[kRowSlots][kRowWarps][kRowBatch][kRowTile];
  RowTerms terms;
  uint64_t full[kRowStages], empty[kRowStages];
  uint64_t done[kRowSlots], taken[kRowSlots];
};

// Held: slices of X that a warp keeps in registers, which cover K; 0 when it reads them anew for every
// tile, from the L1 cache.
template <int Held>
__global__ __launch_bounds__(kRowThreads) void row_matmul(const Product p) {
#if __CUDA_ARCH__ >= 900
  using namespace hopper;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<RowShared*>(shared_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first_column = p.columns * blockIdx.x / gridDim.x;
  const int own_columns = static_cast<int>(p.columns * (blockIdx.x + 1) / gridDim.x - first_column);
  const int own_tiles = (own_columns + kRowTile - 1) / kRowTile;
  const int depth = static_cast<int>(p.depth);
  const int slices = (depth + kRowSlice - 1) / kRowSlice;
  start_successor();
  if (threadIdx.x == kRowWarps * 32) {
    for (int i = 0; i < kRowStages; ++i) {
      barrier_init(shared.full[i], 1);
      barrier_init(shared.empty[i], kRowWarps);
    }
    for (int i = 0; i < kRowSlots; ++i) {
      barrier_init(shared.done[i], kRowWarps * 32);
      barrier_init(shared.taken[i], kRowFinishers * 32);
    }
    barrier_init_fence();
  }
  __syncthreads();

  if (warp == kRowWarps) {
    if (!p.settled) wait_for_predecessor();
    RingPosition stage;
    int filled = 0;
    for (int tile = 0; tile < own_tiles; ++tile) {
      const int rows = min(kRowTile, own_columns - tile * kRowTile);
      const int8_t* row = p.weight + (first_column + tile * kRowTile + lane) * p.depth;
      for (int slice = 0; slice < slices; ++slice, ++filled) {
        if (filled >= kRowStages) wait(shared.empty[stage.at], stage.phase ^ 1);
        const int bytes = min(kRowSlice, depth - slice * kRowSlice);
        if (lane == 0) arrive_expecting(shared.full[stage.at], rows * bytes);
        __syncwarp();
        if (lane < rows) {
          copy_bytes(shared.stages[stage.at] + lane * kRowStride, row + slice * kRowSlice, bytes,
                     shared.full[stage.at]);
        }
        stage.step(kRowStages);
      }
    }
    wait_for_predecessor();
    return;
  }

  wait_for_predecessor();
  if (warp > kRowWarps) {
    constexpr int kThreads = kRowFinishers * 32;
    const int thread = static_cast<int>(threadIdx.x) - (kRowWarps + 1) * 32;
    RowGather<kThreads> gather(p, shared.terms, first_column, own_columns, thread);
    RingPosition slot;
    for (int tile = 0; tile < own_tiles; ++tile, slot.step(kRowSlots)) {
      gather.place(shared.terms);
      named_sync<1, kThreads>();
      gather.load(tile + 1);  // under way while this tile is finished
      wait(shared.done[slot.at], slot.phase);
      for (int i = thread; i < kRowTile * p.rows; i += kThreads) {
        const int column = i % kRowTile, row = i / kRowTile;
        int32_t sum = 0;
#pragma unroll
        for (int w = 0; w < kRowWarps; ++w) sum += shared.sums[slot.at][w][row][column];
        if (tile * kRowTile + column < own_columns) {
          store_row_result(p, shared.terms, first_column + tile * kRowTile + column, row, column,
                           sum);
        }
      }
      arrive(shared.taken[slot.at]);
      named_sync<1, kThreads>();  // nobody reads the terms any more
    }
    return;
  }

  const int group = lane / 4, part = lane % 4;
  const int own_byte = warp * kRowPart + part * 16;
  const auto load_x = [&](uint4(&x)[2], int slice) {
#pragma unroll
    for (int piece = 0; piece < 2; ++piece) {
      const int byte = slice * kRowSlice + own_byte + piece * 64;
      x[piece] = uint4{0, 0, 0, 0};
      if (group < p.rows) {
        x[piece] = load_row_part<true, true>(p.codes + group * p.depth, byte, p.depth);
      }
    }
  };
  uint4 held[Held > 0 ? Held : 1][2];
#pragma unroll
  for (int slice = 0; slice < Held; ++slice) load_x(held[slice], slice);

  RingPosition stage;
  RingPosition slot;
  for (int tile = 0; tile < own_tiles; ++tile, slot.step(kRowSlots)) {
    int32_t sums[4] = {};
    const auto multiply = [&](const uint4(&x)[2]) {
      wait(shared.full[stage.at], stage.phase);
      const unsigned char* from = shared.stages[stage.at] + group * kRowStride + own_byte;
#pragma unroll
      for (int piece = 0; piece < 2; ++piece) {
        const auto upper = *reinterpret_cast<const uint4*>(from + piece * 64);
        const auto lower = *reinterpret_cast<const uint4*>(from + 8 * kRowStride + piece * 64);
        Mma<int8_t>::multiply(sums, upper.x, lower.x, upper.y, lower.y, x[piece].x, x[piece].y);
        Mma<int8_t>::multiply(sums, upper.z, lower.z, upper.w, lower.w, x[piece].z, x[piece].w);
      }
      __syncwarp();
      if (lane == 0) arrive(shared.empty[stage.at]);
      stage.step(kRowStages);
    };
    if constexpr (Held > 0) {
#pragma unroll
      for (int slice = 0; slice < Held; ++slice) {
        if (slice < slices) multiply(held[slice]);
      }
    } else {
      for (int slice = 0; slice < slices; ++slice) {
        uint4 x[2];
        load_x(x, slice);
        multiply(x);
      }
    }
    if (tile >= kRowSlots) wait(shared.taken[slot.at], slot.phase ^ 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      shared.sums[slot.at][warp][part * 2 + i % 2][i / 2 * 8 + group] = sums[i];
    }
    arrive(shared.done[slot.at]);
  }
#endif
}

}  // namespace fewbit::cuda::int8
