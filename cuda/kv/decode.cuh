// Flash-decoding over a cache of few bits. As in attention/decode.cu the keys of a row are split over
// blocks, whose warps take turns at its tiles and join what they found; but here each warp has a ring
// of tiles that bulk copies fill ahead of it, and turns codes into fragments in registers, once for up
// to 8 query heads. Scales of channels are folded into the queries and into the sums at the end, those
// of tokens into scores and weights. The zero points of static keys add the same to all scores of a
// query, which makes no difference to a softmax: they are left out.
#pragma once

#include "attending.cuh"

namespace fewbit::cuda::kv {

// Where a row is. A padding row has position -1.
struct Place {
  int position, sequence;

  __device__ bool operator==(const Place& other) const {
    return position == other.position && sequence == other.sequence;
  }
};

__device__ __forceinline__ Place read_place(const Problem& problem, int row) {
  const Place place{__ldcg(problem.positions + row), __ldcg(problem.sequences + row)};
  const bool known = place.sequence >= 0 && place.sequence < problem.table_rows;
  return known && place.position >= 0 ? place : Place{-1, 0};
}

// The block finds out where its tiles lie, and has the first of them brought into the second-level
// cache, while the kernel before still runs; copies start as soon as that has ended, and meanwhile it
// is checked whether what they went by still holds.
template <int Bits, int Dim, bool Dynamic, int Columns>
__global__ void __launch_bounds__(kSplitThreads, Bits == 8 ? 1 : 2)
    decode_kernel(const Problem problem, const Splits splits) {
  using MemoryOf = Memory<Bits, Dim, Dynamic>;
  constexpr int kWidth = MemoryOf::kWidth, kStageCount = kStages<Bits, Dynamic>;
  constexpr int kHeads = kColumnHeads * Columns;
  extern __shared__ __align__(128) unsigned char shared[];
  auto& memory = *reinterpret_cast<MemoryOf*>(shared);
  const int warp = threadIdx.x / 32;
  const int kv_head = blockIdx.y % problem.kv_heads;
  const int head_tile = blockIdx.y / problem.kv_heads * kHeads;  // in its group
  const Heads heads{.row = static_cast<int>(blockIdx.z),
                    .kv_head = kv_head,
                    .first = kv_head * problem.group + head_tile,
                    .count = min(problem.group - head_tile, kHeads)};
  const int split = blockIdx.x, step = splits.count * kSplitWarps;
  const bool in_cluster = splits.count > 1 && !splits.sums;
  auto& ring = memory.rings[warp];
  start_successor();
  ring.init();
  // No kernel writes grids.
  if (!Dynamic) {
    for (int i = threadIdx.x; i < kWidth; i += kSplitThreads) {
      const bool exists = i < Dim;
      memory.key_scales[i] = exists ? problem.scale_of(problem.key_grid, kv_head, i) : 0.0f;
      memory.grid[0][i] = exists ? problem.scale_of(problem.value_grid, kv_head, i) : 0.0f;
      memory.grid[1][i] = exists ? problem.zero_of(problem.value_grid, kv_head, i) : 0.0f;
    }
  }
  // One thread reads for all, since what it reads may be changing.
  __shared__ Place guess;
  if (threadIdx.x == 0) guess = read_place(problem, heads.row);
  __syncthreads();
  Place place = guess;
  int tile = split * kSplitWarps + warp;
  const auto look_up = [&](int of) {
    return ring.look_up(problem, place.sequence, kv_head, of, max(place.position, 0));
  };
  uint32_t rows[kStageCount];
#pragma unroll
  for (int s = 0; s < kStageCount; ++s) {
    rows[s] = look_up(tile + s * step);
    ring.prefetch(problem, rows[s], tile + s * step, place.position);
  }
  wait_for_predecessor();

  LoadedQueries<Dim, Dynamic> queries;
  queries.load(problem, heads);
  int tiles, active;
  for (;;) {
    tiles = place.position < 0 ? 0 : place.position / kTileKeys + 1;
    active = splits.active(tiles);
    int started = 0;
#pragma unroll
    for (int s = 0; s < kStageCount; ++s) {
      ring.start(s, problem, rows[s], tile + s * step, tiles, place.position);
      started += tile + s * step < tiles;
    }
    const Place now = read_place(problem, heads.row);
    bool differs = !(now == place);
    uint32_t rows_now[kStageCount];
#pragma unroll
    for (int s = 0; s < kStageCount; ++s) {
      rows_now[s] = look_up(tile + s * step);
      differs |= rows_now[s] != rows[s];
    }
    queries.store(problem, heads, memory.key_scales, memory.queries);
    if (!__syncthreads_or(differs)) break;
    ring.reset(started);
    place = now;
#pragma unroll
    for (int s = 0; s < kStageCount; ++s) rows[s] = look_up(tile + s * step);
  }
  const bool is_half = problem.dtype == DType::F16;
  if (place.position < 0) {
    if (split > 0) return;
    uint16_t* out = problem.result<uint16_t>(heads.row, heads.first);
    for (int i = threadIdx.x; i < heads.count * Dim; i += kSplitThreads) out[i] = 0;
    return;
  }
  const bool is_active = split < active;
  uint32_t next_row = look_up(tile + kStageCount * step);
  Attending<Bits, Dim, Dynamic, Columns> attending(problem, place.position);
  if (is_active) {
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      attending.query[c].load(memory.queries, kColumnHeads * c, heads.count, problem.scale_log2);
    }
    __syncthreads();
  }
#if __CUDA_ARCH__ >= 900
  // From here on the others may send what they found to where the queries were.
  if (in_cluster) hopper::cluster_arrive();
#endif
  if (is_active) {
    int stage = 0, round = 0;
    for (; tile < tiles; tile += step) {
      ring.wait(stage, round);
      attending.tile(ring.stages[stage], tile, tile == tiles - 1);
      __syncwarp();
      const int ahead = tile + kStageCount * step;
      ring.start(stage, problem, next_row, ahead, tiles, place.position);
      next_row = look_up(ahead + step);
      if (++stage == kStageCount) stage = 0, ++round;
    }
    attending.finish(memory.found(warp), memory.grid, heads.count);
    __syncthreads();
  }
  const auto of = [&](int w) -> const auto& { return memory.found(w); };
  const auto join = [&](auto zero) {
    using T = decltype(zero);
    if (in_cluster) {
      attention::join_in_cluster<T, kWidth>(problem, splits, heads, active, of, memory.received);
    } else if (is_active) {
      attention::join_in_workspace<T, kWidth>(problem, splits, heads, active, of);
    }
  };
  if (is_half) {
    join(__half{});
  } else {
    join(__nv_bfloat16{});
  }
}

}  // namespace fewbit::cuda::kv
