// Flash-decoding over a cache of few bits. As in attention/decode.cu the keys of a row are split over
// blocks, whose warps take turns at its tiles and join what they found; but here each warp has a ring
// of tiles that bulk copies fill ahead of it, and turns codes into fragments in registers, once for up
// to 8 query heads. Scales of channels are folded into the queries and into the sums at the end, those
// of tokens into scores and weights. The zero points of static keys add the same to all scores of a
// query, which makes no difference to a softmax: they are left out.
#pragma once

#include <algorithm>
#include <bit>

#include "../attention/splits.cuh"
#include "../common/zeroed.h"
#include "key_ring.cuh"
#include "problem.cuh"
#include "queries.cuh"

namespace fewbit::cuda::kv {

using attention::Heads;
using attention::kSplitThreads;
using attention::kSplitWarps;
using attention::kTileHeads;
using attention::power_of_two;
using attention::Splits;

// Tiles that a warp has under way: as many as let a multiprocessor hold two blocks (one, of 8 bits).
template <int Bits, bool Dynamic>
constexpr int kStages = Bits == 8 ? 2 : (Bits == 4 ? 3 : 4) - Dynamic;

// Dynamic shared memory of a block. What a warp found takes the place of its ring.
template <int Bits, int Dim, bool Dynamic>
struct Memory {
  static constexpr int kWidth = RowShape<Bits, Dim>::kWidth;
  using Ring = KeyRing<Bits, Dim, Dynamic, kStages<Bits, Dynamic>>;
  using Found = attention::Findings<kWidth>;
  static_assert(sizeof(Found) <= sizeof(Ring::stages));
  Ring rings[kSplitWarps];
  float grid[2][kWidth];  // of the values
  float key_scales[kWidth];
  union {
    SharedQueries<kWidth> queries;
    attention::ClusterFindings<kWidth> received;
  };

  __device__ Found& found(int warp) { return *reinterpret_cast<Found*>(rings[warp].stages); }
};

// The attention of some heads over the tiles of this warp.
template <int Bits, int Dim, bool Dynamic, int Columns>
struct Attending {
  using MemoryOf = Memory<Bits, Dim, Dynamic>;
  using Ring = typename MemoryOf::Ring;
  using Keys = KeyCodes<Bits, Dim>;
  using Values = ValueCodes<Bits, Dim>;
  using Pairs = ValuePairs<Bits, Dim>;
  static constexpr int kProducts = RowShape<Bits, Dim>::kProducts;
  static constexpr int kBatch = Bits == 8 ? 2 : 4;  // blocks of keys in registers at a time

  const Problem& problem;
  const int position;
  const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
  QueryFragment<Bits, Dim> query[Columns];
  float largest[Columns], weight_sum[Columns], smallest_sum[Columns];
  float sums[kProducts][4];

  __device__ __forceinline__ Attending(const Problem& problem, int position)
      : problem(problem), position(position) {
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      largest[c] = -INFINITY;
      weight_sum[c] = smallest_sum[c] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] = 0.0f;
    }
  }

  // Row r of block b of the products, r = group or group + 8, is key key_of(b, group, r / 8) of a
  // tile. So a lane's four values of a block of the second product follow each other, and those of
  // the four lanes of a group lie in four different blocks of shared memory.
  static __device__ __forceinline__ int key_of(int b, int group, int upper) {
    return group / 2 * kBlockKeys + 4 * b + 2 * upper + group % 2;
  }
  static __device__ __forceinline__ const uint8_t* row_of(const uint8_t* tile, int key) {
    using Of = Block<Bits, Dim>;
    return tile + key / kBlockKeys * Of::kStride + key % kBlockKeys * Of::kRowBytes;
  }

  __device__ __forceinline__ void scores(const typename Ring::StageOf& stage,
                                         float (&score)[Columns][kBlocks][2]) const {
#pragma unroll
    for (int first = 0; first < kBlocks; first += kBatch) {
      Keys keys[kBatch][2];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) {
          keys[b][upper].load(row_of(stage.keys, key_of(first + b, group, upper)), member);
        }
      }
      float products[Columns][kBatch][4] = {};
#pragma unroll
      for (int i = 0; i < kProducts; ++i) {
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
#pragma unroll
          for (int c = 0; c < Columns; ++c) {
            const auto& q = query[c].registers[i];
            Mma<__half>::multiply(products[c][b], keys[b][0].first(i), keys[b][1].first(i),
                                  keys[b][0].second(i), keys[b][1].second(i), q[0], q[1]);
          }
        }
      }
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
          score[c][first + b][0] = products[c][b][0] + products[c][b][1];
          score[c][first + b][1] = products[c][b][2] + products[c][b][3];
        }
      }
    }
  }

  __device__ __forceinline__ void tile(const typename Ring::StageOf& stage, int tile, bool last) {
    float score[Columns][kBlocks][2];
    scores(stage, score);

    // Scales of values count towards the largest weight, since they multiply the weights.
    __half2 value_pair[Dynamic ? kBlocks : 1][2];
    float top[Columns];
#pragma unroll
    for (int c = 0; c < Columns; ++c) top[c] = largest[c];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const int key = key_of(b, group, upper);
        const bool masked = last && tile * kTileKeys + key > position;
        float scale = 1.0f, smallest = 0.0f, gain = 0.0f;
        if constexpr (Dynamic) {
          const __half2 key_pair = stage.key_scales[key];
          scale = __low2float(key_pair), smallest = __high2float(key_pair);
          value_pair[b][upper] = masked ? __half2{} : stage.value_scales[key];
          gain = __log2f(fmaxf(__low2float(value_pair[b][upper]), 1.0f / kCodeUnit));
        }
#pragma unroll
        for (int c = 0; c < Columns; ++c) {
          float& s = score[c][b][upper];
          s *= query[c].unit;
          if constexpr (Dynamic) s = fmaf(s, scale, smallest * query[c].sum);
          if (masked) s = -INFINITY;
          top[c] = fmaxf(top[c], s + gain);
        }
      }
    }
    bool grows = false;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        top[c] = fmaxf(top[c], __shfl_xor_sync(kFullWarp, top[c], offset));
      }
      grows |= top[c] > largest[c];
    }
    if (__any_sync(kFullWarp, grows)) rescale(top);

    uint32_t weights[kBlocks][2];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        float weight[2] = {0.0f, 0.0f};
#pragma unroll
        for (int c = 0; c < Columns; ++c) {
          weight[c] = power_of_two(score[c][b][upper] - largest[c]);
          weight_sum[c] += weight[c];
          if constexpr (Dynamic) {
            smallest_sum[c] = fmaf(weight[c], __high2float(value_pair[b][upper]), smallest_sum[c]);
            weight[c] *= __low2float(value_pair[b][upper]);
          }
        }
        weights[b][upper] = attention::transpose(attention::pack<__half>(weight[0], weight[1]));
      }
    }

#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      Values values[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        values[i].load(row_of(stage.values, member * kBlockKeys + 4 * b + i), group);
      }
      const Pairs lower(values[0], values[1], group), upper(values[2], values[3], group);
#pragma unroll
      for (int i = 0; i < kProducts; ++i) {
        Mma<__half>::multiply(sums[i], lower.first(i), lower.second(i), upper.first(i),
                              upper.second(i), weights[b][0], weights[b][1]);
      }
    }
  }

  // Puts all sums in terms of a new largest score. An odd column is head 4 + member, if there is one.
  __device__ __forceinline__ void rescale(const float (&top)[Columns]) {
    float shrink[2] = {1.0f, 1.0f};
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      shrink[c] = power_of_two(largest[c] - top[c]);
      largest[c] = top[c];
      weight_sum[c] *= shrink[c];
      smallest_sum[c] *= shrink[c];
    }
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      sums[i][0] *= shrink[0];
      sums[i][2] *= shrink[0];
      if constexpr (Columns == 2) {
        sums[i][1] *= shrink[1];
        sums[i][3] *= shrink[1];
      }
    }
  }

  // What was found, in the values that the codes stand for.
  __device__ __forceinline__ void finish(typename MemoryOf::Found& found,
                                         const float (&grid)[2][MemoryOf::kWidth], int heads) {
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        weight_sum[c] += __shfl_xor_sync(kFullWarp, weight_sum[c], offset);
        smallest_sum[c] += __shfl_xor_sync(kFullWarp, smallest_sum[c], offset);
      }
      const int head = kColumnHeads * c + member;
      if (head >= heads) continue;
      if (group == 0) found.sums[head] = {largest[c], weight_sum[c]};
#pragma unroll
      for (int i = 0; i < kProducts; ++i) {
#pragma unroll
        for (int second = 0; second < 2; ++second) {
          const int element = Pairs::element(group, i, second);
          const float codes =
              sums[i][2 * second + c] * (Bits != 8 && second ? kUpper * kCodeUnit : kCodeUnit);
          found.values[head][element] =
              Dynamic ? codes + smallest_sum[c]
                      : grid[0][element] * (codes - grid[1][element] * weight_sum[c]);
        }
      }
    }
  }
};

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

// Heads of a group that one block treats.
inline int columns_of(const Problem& problem) { return problem.group <= kColumnHeads ? 1 : 2; }

inline int head_tiles_of(const Problem& problem) {
  const int heads = kColumnHeads * columns_of(problem);
  return (problem.group + heads - 1) / heads;
}

// Splits of a row join in a cluster, or through the workspace (splits.cu).
inline bool joins_in_cluster(const Context& context) { return context.properties.major >= 9; }
int split_count(const Problem& problem, const Context& context);
size_t sums_bytes(const Problem& problem, int splits);

template <int Bits, int Dim, bool Dynamic, int Columns>
void launch_decode(const Problem& problem, const Splits& splits, Context& context) {
  const auto kernel = decode_kernel<Bits, Dim, Dynamic, Columns>;
  const bool cluster = !splits.sums;
  const Launch config{
      .name = "attention_quantized (decode)",
      .grid = dim3(splits.count, problem.kv_heads * head_tiles_of(problem), problem.rows),
      .block = dim3(kSplitThreads),
      .shared_bytes = sizeof(Memory<Bits, Dim, Dynamic>),
      .cluster = cluster ? splits.count : 1,
      .overlap = true};
  if (config.cluster > 8) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          config.name);
  }
  launch(config, context, kernel, problem, splits);
}

template <int Bits>
void run_decode(const Problem& problem, Context& context, void* workspace) {
  Splits splits{};
  splits.count = split_count(problem, context);
  if (splits.count > 1 && !joins_in_cluster(context)) {
    char* bytes = static_cast<char*>(workspace);
    splits.sums = reinterpret_cast<attention::SplitSum*>(bytes);
    splits.values = reinterpret_cast<float*>(bytes + sums_bytes(problem, splits.count));
    splits.arrivals = context.zeroed->words();
  }
  // The least power of two whose multiples cover a head.
  const int share = (problem.dim + splits.count - 1) / splits.count;
  splits.share = std::bit_width(static_cast<unsigned>(share - 1));
  const auto with_dim = [&](auto dim) {
    const auto with_columns = [&](auto columns) {
      if (problem.key_grid) {
        launch_decode<Bits, dim(), false, columns()>(problem, splits, context);
      } else {
        launch_decode<Bits, dim(), true, columns()>(problem, splits, context);
      }
    };
    if (columns_of(problem) == 1) return with_columns(std::integral_constant<int, 1>{});
    with_columns(std::integral_constant<int, 2>{});
  };
  if (problem.dim == 64) return with_dim(std::integral_constant<int, 64>{});
  if (problem.dim == 80) return with_dim(std::integral_constant<int, 80>{});
  with_dim(std::integral_constant<int, 128>{});
}

}  // namespace fewbit::cuda::kv
