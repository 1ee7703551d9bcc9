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
__global__ void __launch_bounds__(kSplitThreads, kResident<Bits, Dynamic>)
    decode_kernel(const Problem problem, const Append append, const Splits splits) {
  using MemoryOf = Memory<Bits, Dim, Dynamic>;
  using Ring = typename MemoryOf::Ring;
  constexpr int kWidth = MemoryOf::kWidth, kPlaceCount = kPlaces<Bits, Dynamic>;
  constexpr int kParts = Ring::kParts, kTiles = Ring::kTiles;
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
  if (in_cluster) {
    memory.join.prepare();
    hopper::cluster_arrive_relaxed();
  }
#endif
  // No kernel writes grids, angles and feedback. The rest may be changing, so that a warp goes by what
  // its first lane reads.
  const bool brings_key = warp == 0;  // or the value: warp 1
  NewRow<Bits, Dim, Dynamic> fresh;
  LoadedQueries<Dim, Dynamic, Columns> queries;
  Grids<Dim> grids;
  if (!Dynamic) grids.load(problem, kv_head);
  if (!Dynamic && warp < 2) {
    fresh.load_grid(problem, brings_key ? problem.key_grid : problem.value_grid, kv_head);
  }
  const Place seen = Place::read(problem, heads.row);
  Place place{.position = __shfl_sync(kFullWarp, seen.position, 0),
              .sequence = __shfl_sync(kFullWarp, seen.sequence, 0)};
  int position;  // -1: padding
  int tile = split * kSplitWarps + warp, tiles, active;
  bool brings;  // the last tile, which has the new token, is in this block
  for (bool first = true;; first = false) {
    const bool inside = place.is_inside(problem, append);
    const Place from = inside ? place : Place{0, 0};
    const int page = from.page(problem);
    int32_t pages[kTiles];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) pages[i] = ring.look_up(problem, from, tile + i * step);
    const float* angles = append.angles(problem, inside ? place.position : -1);
    queries.turn(angles);
    fresh.turn(brings_key ? angles : nullptr);
    if (first && !Dynamic) grids.store(memory.key_scales, memory.grid);
    position = inside && __shfl_sync(kFullWarp, page, 0) >= 0 ? place.position : -1;
    tiles = position < 0 ? 0 : position / kTileKeys + 1;
    active = splits.active(tiles);
    brings = split < active && (tiles - 1) / kSplitWarps % splits.count == split;
    const auto row_of = [&](int i) {
      return ring.row_in(problem, pages[i], from, kv_head, tile + i * step);
    };
    if (append.feedback && brings && brings_key) {
      fresh.load_feedback(append.feedback + int64_t{kv_head} * Dim * Dim);
    }
    if (first) {
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        ring.prefetch(problem, row_of(i), tile + i * step, tiles);
      }
      __syncthreads();  // scales of keys
      wait_for_predecessor();
      const bool rotated = append.rope != nullptr;
      queries.load(problem, heads, rotated);
      if (brings_key) {
        fresh.load(append.k, heads.row * append.k_stride + kv_head * Dim, rotated);
      } else if (warp == 1) {
        fresh.load(append.v, heads.row * append.v_stride + kv_head * Dim, false);
      }
    }
    // What the copies go by is checked while they are under way.
    const Place now = Place::read(problem, heads.row);
    const int page_now = from.page(problem);
    int32_t pages_now[kTiles];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) pages_now[i] = ring.look_up(problem, from, tile + i * step);
    int started = 0;
#pragma unroll
    for (int n = 0; n < kPlaceCount; ++n) {
      const int i = n / kParts;
      ring.start(n, n % kParts, problem, row_of(i), tile + i * step, tiles);
      started += tile + i * step < tiles;
    }
    queries.store(problem, heads, memory.key_scales, memory.queries);
    bool differs = !(now == place) | ((page_now < 0) != (page < 0));
#pragma unroll
    for (int i = 0; i < kTiles; ++i) differs |= pages_now[i] != pages[i];
    if (!__syncthreads_or(differs)) break;
    ring.reset(started);
    place = now;
  }
  const bool is_half = problem.dtype == DType::F16;
  if (position < 0) {
    if (split > 0) return;
    uint16_t* out = problem.result<uint16_t>(heads.row, heads.first);
    for (int i = threadIdx.x; i < heads.count * Dim; i += kSplitThreads) out[i] = 0;
    return;
  }
  const bool is_active = split < active;
  constexpr int kAhead = kPlaceCount / kParts;
  int32_t next_page = ring.look_up(problem, place, tile + kAhead * step);
  Attending<Bits, Dim, Dynamic, Columns> attending(problem, position);
  if (is_active) {
    if (brings && warp < 2) fresh.quantize(problem.dtype, memory.fresh, warp);
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      attending.query[c].load(memory.queries, kColumnHeads * c, heads.count, problem.scale_log2);
    }
    if (brings) __syncthreads();  // the new token is there
    int taken = 0, round = 0;
    // A part is done with: what comes next, part `part` of tile `of`, has its place.
    const auto follow = [&](int part, int of) {
      __syncwarp();
      const uint32_t row = ring.row_in(problem, next_page, place, kv_head, of);
      ring.start(taken, part, problem, row, of, tiles);
      if (++taken == kPlaceCount) taken = 0, ++round;
    };
    for (; tile < tiles; tile += step) {
      const bool last = tile == tiles - 1;
      int ahead = tile + kAhead * step;
      ring.wait(taken, round);
      if (last) {
        attending.insert(memory.fresh, 0, ring.places[taken]);
        if (kParts == 1) attending.insert(memory.fresh, 1, ring.places[taken]);
        if (head_tile == 0) {
          store_token(memory.fresh, problem, problem.cache_row(place.sequence, kv_head, position));
        }
      }
      float score[Columns][kBlocks][2];
      uint32_t weights[kBlocks][2];
      ValuePairs<Bits, Dim> pairs[kBlocks][2];
      attending.scores(ring.places[taken].rows[0], score);
      if constexpr (kParts == 1) attending.take(ring.places[taken].rows[1], pairs);
      attending.weigh(ring.places[taken], tile, last, score, weights);
      if constexpr (kParts == 2) {
        constexpr int kNext = kPlaceCount % 2;
        follow(kNext, ahead);
        if (kNext == 1) next_page = ring.look_up(problem, place, ahead += step);
        ring.wait(taken, round);
        if (last) attending.insert(memory.fresh, 1, ring.places[taken]);
        attending.take(ring.places[taken].rows[0], pairs);
      }
      attending.add(pairs, weights);
      follow(kParts == 2 && kPlaceCount % 2 == 0, ahead);
      if (kParts == 1 || kPlaceCount % 2 == 0) {
        next_page = ring.look_up(problem, place, ahead + step);
      }
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
