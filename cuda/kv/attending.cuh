// The attention of a warp over its tiles of a cache of few bits: a ring of tiles that bulk copies fill
// ahead of it, codes turned into fragments in registers, once for up to 8 query heads.
#pragma once

#include <bit>

#include "../attention/cluster_join.cuh"
#include "key_ring.cuh"
#include "new_token.cuh"
#include "problem.cuh"
#include "queries.cuh"

namespace fewbit::cuda::kv {

using attention::Heads;
using attention::kSplitThreads;
using attention::kSplitWarps;
using attention::kTileHeads;
using attention::power_of_two;
using attention::Splits;

// Blocks that a multiprocessor holds, and what a warp has under way, as much as lets it: whole tiles, but
// of 8 bits keys and values apart.
template <int Bits, bool Dynamic>
constexpr int kResident = Bits == 8 && Dynamic ? 1 : 2;
template <int Bits>
constexpr int kSides = Bits == 8 ? 1 : 2;
template <int Bits, bool Dynamic>
constexpr int kPlaces = Bits == 8 ? 3 + Dynamic : (Bits == 4 ? 3 : 4) - Dynamic;

// Dynamic shared memory of a block. What a warp found takes the place of its ring.
template <int Bits, int Dim, bool Dynamic>
struct Memory {
  static constexpr int kWidth = RowShape<Bits, Dim>::kWidth;
  using Ring = KeyRing<Bits, Dim, Dynamic, kSides<Bits>, kPlaces<Bits, Dynamic>>;
  using Found = attention::Findings<kWidth>;
  using Fresh = NewToken<Bits, Dim>;
  static_assert(sizeof(Found) <= sizeof(Ring::places));
  Ring rings[kSplitWarps];
  float grid[2][kWidth];  // of the values
  float key_scales[kWidth];
  Fresh fresh;
  SharedQueries<kWidth> queries;
  // Splits are powers of two, and so are their shares of the width.
  attention::ClusterJoin<kWidth, kWidth> join;

  __device__ Found& found(int warp) { return *reinterpret_cast<Found*>(rings[warp].places); }
};

// The attention of some heads over the tiles of this warp.
template <int Bits, int Dim, bool Dynamic, int Columns>
struct Attending {
  using MemoryOf = Memory<Bits, Dim, Dynamic>;
  using Ring = typename MemoryOf::Ring;
  using Rows = TileRows<Bits, Dim>;
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

  __device__ __forceinline__ void scores(const uint8_t* rows,
                                         float (&score)[Columns][kBlocks][2]) const {
#pragma unroll
    for (int first = 0; first < kBlocks; first += kBatch) {
      Keys keys[kBatch][2];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) {
          const int key = Rows::key_of(first + b, upper, group / 2, group % 2);
          keys[b][upper].load(rows + Rows::offset(key), member);
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

  // Puts the new token's key (0) or value (1) into the last tile, where old bytes are in its place.
  __device__ __forceinline__ void insert(const typename MemoryOf::Fresh& fresh, int which,
                                         typename Ring::PlaceOf& place) const {
    const int key = position % kTileKeys, lane = threadIdx.x % 32;
    auto* row = reinterpret_cast<uint32_t*>(place.rows[which % kSides<Bits>] + Rows::offset(key));
    for (int i = lane; i < fresh.kRowWords; i += 32) row[i] = fresh.words[which][i];
    if (Dynamic && which == 0 && lane == 0) {
      place.key_scales[key] = fresh.scales[0];
      place.value_scales[key] = fresh.scales[1];
    }
    __syncwarp();
  }

  // What the scores of a tile make of its values: operands of the product with them.
  __device__ __forceinline__ void weigh(const typename Ring::PlaceOf& place, int tile, bool last,
                                        float (&score)[Columns][kBlocks][2],
                                        uint32_t (&weights)[kBlocks][2]) {
    // Scales of values count towards the largest weight, since they multiply the weights.
    __half2 value_pair[Dynamic ? kBlocks : 1][2];
    float top[Columns];
#pragma unroll
    for (int c = 0; c < Columns; ++c) top[c] = largest[c];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const int key = Rows::key_of(b, upper, group / 2, group % 2);
        const bool masked = last && tile * kTileKeys + key > position;
        float scale = 1.0f, smallest = 0.0f, gain = 0.0f;
        if constexpr (Dynamic) {
          const __half2 key_pair = place.key_scales[key];
          scale = __low2float(key_pair), smallest = __high2float(key_pair);
          value_pair[b][upper] = masked ? __half2{} : place.value_scales[key];
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
    for (int c = 0; c < Columns; ++c) grows |= top[c] > largest[c];
    if (__any_sync(kFullWarp, grows)) rescale(top);

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
        weights[b][upper] = transpose(pack<__half>(weight[0], weight[1]));
      }
    }
  }

  // The values of a tile. Loaded before their weights are known, since loads take a while, too.
  __device__ __forceinline__ void take(const uint8_t* rows, Pairs (&pairs)[kBlocks][2]) const {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        Values values[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          values[i].load(rows + Rows::offset(Rows::key_of(b, upper, member, i)), group);
        }
        pairs[b][upper] = Pairs(values[0], values[1], group);
      }
    }
  }

  __device__ __forceinline__ void add(const Pairs (&pairs)[kBlocks][2],
                                      const uint32_t (&weights)[kBlocks][2]) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < kProducts; ++i) {
        Mma<__half>::multiply(sums[i], pairs[b][0].first(i), pairs[b][0].second(i),
                              pairs[b][1].first(i), pairs[b][1].second(i), weights[b][0],
                              weights[b][1]);
      }
    }
  }

  // Puts all sums in terms of the largest score, of which lanes have found more than there was. An odd
  // column is head 4 + member, if there is one.
  __device__ __forceinline__ void rescale(float (&top)[Columns]) {
    float shrink[2] = {1.0f, 1.0f};
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        top[c] = fmaxf(top[c], __shfl_xor_sync(kFullWarp, top[c], offset));
      }
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

}  // namespace fewbit::cuda::kv
