// Flash-decoding over a cache of few bits. As in attention/decode.cu the keys of a row are split over
// blocks, whose warps take turns at its tiles and join what they found, and the newest key and value
// are not in the cache yet; but here each warp has a ring of tiles that bulk copies fill ahead of it,
// and turns codes into fragments in registers, once for up to 8 query heads. Scales of channels are
// folded into the queries and into the sums at the end, those of tokens into scores and weights. The
// zero points of static keys add the same to all scores of a query, which makes no difference to a
// softmax: they are left out.
#pragma once

#include "attending.cuh"

namespace fewbit::cuda::kv {

// The block finds out where its tiles lie, and has the first of them brought into the second-level
// cache, while the kernel before still runs; copies start as soon as that has ended, and meanwhile it
// is checked whether what they went by still holds.
template <int Bits, int Dim, bool Dynamic, int Columns>
__global__ void __launch_bounds__(kSplitThreads, Bits == 8 ? 1 : 2)
    decode_kernel(const Problem problem, const Append append, const Splits splits) {
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
#if __CUDA_ARCH__ >= 900
  if (in_cluster) memory.join.prepare();
#endif
  // No kernel writes grids, angles and feedback; of the rest one thread reads for all, since it may be
  // changing.
  __shared__ struct {
    Place place;
    int position;
  } guess;
  if (threadIdx.x == 0) {
    guess.place = Place::read(problem, heads.row);
    guess.position = guess.place.known(problem, append);
  }
  const bool brings_key = warp == 0;  // or the value: warp 1
  NewRow<Bits, Dim, Dynamic> fresh;
  LoadedQueries<Dim, Dynamic> queries;
  if (!Dynamic) {
    for (int i = threadIdx.x; i < kWidth; i += kSplitThreads) {
      const bool exists = i < Dim;
      memory.key_scales[i] = exists ? problem.scale_of(problem.key_grid, kv_head, i) : 0.0f;
      memory.grid[0][i] = exists ? problem.scale_of(problem.value_grid, kv_head, i) : 0.0f;
      memory.grid[1][i] = exists ? problem.zero_of(problem.value_grid, kv_head, i) : 0.0f;
    }
    if (warp < 2) {
      fresh.load_grid(problem, brings_key ? problem.key_grid : problem.value_grid, kv_head);
    }
  }
  __syncthreads();
  Place place = guess.place;
  int position = guess.position;  // -1: padding
  int tile = split * kSplitWarps + warp, tiles, active;
  const auto look_up = [&](int of) {
    const int sequence = position < 0 ? 0 : place.sequence;
    return ring.look_up(problem, sequence, kv_head, of, max(position, 0));
  };
  for (bool first = true;; first = false) {
    tiles = position < 0 ? 0 : position / kTileKeys + 1;
    active = splits.active(tiles);
    uint32_t rows[kStageCount];
#pragma unroll
    for (int s = 0; s < kStageCount; ++s) {
      rows[s] = look_up(tile + s * step);
      if (first) ring.prefetch(problem, rows[s], tile + s * step, position);
    }
    const float* angles = append.angles(problem, position);
    queries.turn(angles);
    fresh.turn(brings_key ? angles : nullptr);
    // The last tile, which has the new token, is in this block.
    const bool brings = split < active && (tiles - 1) / kSplitWarps % splits.count == split;
    if (append.feedback && brings && brings_key) {
      fresh.load_feedback(append.feedback + int64_t{kv_head} * Dim * Dim);
    }
    if (first) {
      wait_for_predecessor();
      const bool rotated = append.rope != nullptr;
      queries.load(problem, heads, rotated);
      if (brings_key) {
        const int64_t at = heads.row * append.k_stride + kv_head * Dim;
        fresh.load(problem.dtype, append.k, at, rotated);
      } else if (warp == 1) {
        fresh.load(problem.dtype, append.v, heads.row * append.v_stride + kv_head * Dim, false);
      }
    }
    int started = 0;
#pragma unroll
    for (int s = 0; s < kStageCount; ++s) {
      ring.start(s, problem, rows[s], tile + s * step, tiles, position);
      started += tile + s * step < tiles;
    }
    const Place now = Place::read(problem, heads.row);
    bool differs = !(now == place) || place.known(problem, append) != position;
#pragma unroll
    for (int s = 0; s < kStageCount; ++s) differs |= look_up(tile + s * step) != rows[s];
    queries.store(problem, heads, memory.key_scales, memory.queries);
    if (!__syncthreads_or(differs)) break;
    ring.reset(started);
    place = now;
    position = place.known(problem, append);
  }
  const bool is_half = problem.dtype == DType::F16;
  if (position < 0) {
    if (split > 0) return;
    uint16_t* out = problem.result<uint16_t>(heads.row, heads.first);
    for (int i = threadIdx.x; i < heads.count * Dim; i += kSplitThreads) out[i] = 0;
    return;
  }
  const bool is_active = split < active;
  uint32_t next_row = look_up(tile + kStageCount * step);
  Attending<Bits, Dim, Dynamic, Columns> attending(problem, position);
  if (is_active) {
    if ((tiles - 1) / kSplitWarps % splits.count == split && warp < 2) {
      fresh.quantize(memory.fresh, warp);
    }
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
      const bool last = tile == tiles - 1;
      if (last) {
        attending.insert(memory.fresh, ring.stages[stage]);
        if (head_tile == 0) {
          store_token(memory.fresh, problem, problem.cache_row(place.sequence, kv_head, position));
        }
      }
      attending.tile(ring.stages[stage], tile, last);
      __syncwarp();
      const int ahead = tile + kStageCount * step;
      ring.start(stage, problem, next_row, ahead, tiles, position);
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
#if __CUDA_ARCH__ >= 900
      memory.join.template finish<T>(problem, splits, heads, active, of);
#endif
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
