// The part of flash-decoding that one block does: attention of up to 8 query heads of a row over every
// n-th tile of its keys.
#pragma once

#include "cluster_join.cuh"
#include "fragment.cuh"
#include "new_rows.cuh"
#include "problem.cuh"
#include "splits.cuh"
#include "tile_ring.cuh"

namespace fewbit::cuda::attention {

// Tiles of a ring. A third gains nothing, and its memory would keep blocks of the kernels before and
// after from standing ready on the same multiprocessor.
constexpr int kMaxStages = 2;

// Shared memory of a block, followed by the tiles of its warps: a ring each, and when that has done
// its work, what the warp has found.
template <class T, int Chunks>
struct alignas(16) Memory {
  static constexpr int kWidth = Tile<T, Chunks>::kWidth;
  NewRows<T, kWidth> fresh;
  ClusterJoin<kWidth> join;
  uint64_t arrived[kSplitWarps][kMaxStages];

  __device__ Tile<T, Chunks>* tiles(int warp, int stages) {
    return reinterpret_cast<Tile<T, Chunks>*>(&found(warp, stages));
  }
  __device__ Findings<kWidth>& found(int warp, int stages) {
    return *reinterpret_cast<Findings<kWidth>*>(reinterpret_cast<char*>(this + 1) +
                                                warp * warp_bytes(stages));
  }
  __host__ __device__ static constexpr size_t warp_bytes(int stages) {
    const size_t ring = stages * sizeof(Tile<T, Chunks>), found = sizeof(Findings<kWidth>);
    return ring > found ? ring : found;
  }
};

// What a lane knows of the softmax of its two heads, columns 2 * member and 2 * member + 1 of a tile
// of products, and 8 consecutive elements of each head's output for every pair of chunks: sums[j][t]
// covers elements 2t and 2t + 1.
template <class T, int Pairs>
struct Attended {
  float largest[2] = {-INFINITY, -INFINITY}, weight_sum[2] = {0.0f, 0.0f};
  float sums[Pairs][4][4] = {};

  // Turns scores of keys group (0, 1) and group + 8 (2, 3) into weights, and shrinks what was summed
  // to fit them. `left` keys count.
  __device__ __forceinline__ void weigh(float (&score)[4], int left, int group) {
#pragma unroll
    for (int head = 0; head < 2; ++head) {
      if (group >= left) score[head] = -INFINITY;
      if (group + 8 >= left) score[head + 2] = -INFINITY;
      float top = fmaxf(score[head], score[head + 2]);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, offset));
      }
      top = fmaxf(top, largest[head]);
      const float shrink = power_of_two(largest[head] - top);
      largest[head] = top;
      score[head] = power_of_two(score[head] - top);
      score[head + 2] = power_of_two(score[head + 2] - top);
      weight_sum[head] = weight_sum[head] * shrink + score[head] + score[head + 2];
#pragma unroll
      for (int i = 0; i < Pairs * 4; ++i) {
        sums[i / 4][i % 4][head] *= shrink;
        sums[i / 4][i % 4][head + 2] *= shrink;
      }
    }
  }

  template <int Width>
  __device__ __forceinline__ void store(Findings<Width>& found, int heads, int group, int member) {
#pragma unroll
    for (int head = 0; head < 2; ++head) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        weight_sum[head] += __shfl_xor_sync(kFullWarp, weight_sum[head], offset);
      }
      const int column = 2 * member + head;
      if (column >= heads) continue;
      if (group == 0) found.sums[column] = {largest[head], weight_sum[head]};
#pragma unroll
      for (int i = 0; i < Pairs * 4; ++i) {
        float* to = &found.values[column][64 * (i / 4) + 8 * group + 2 * (i % 4)];
        to[0] = sums[i / 4][i % 4][head];
        to[1] = sums[i / 4][i % 4][head + 2];
      }
    }
  }
};

// Attention of some heads over the tiles of a ring, the first of which has this number, into what the
// warp has found. By all threads of the block, when the fresh rows are complete.
template <class T, int Chunks>
__device__ void attend(const Problem& problem, const Splits& splits, const Heads& heads,
                       int position, TileRing<T, Chunks>& ring, int first,
                       Memory<T, Chunks>& memory) {
  using TileOf = Tile<T, Chunks>;
  constexpr int kKeys = TileOf::kKeys, kPairs = TileOf::kPairs;
  const int lane = threadIdx.x % 32, group = lane / 4, member = lane % 4, dim = problem.dim;
  uint4 query[Chunks];
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const T* from = memory.fresh.queries[group] + 8 * (member + 4 * i);
    query[i] = group < heads.count ? *reinterpret_cast<const uint4*>(from) : uint4{};
  }

  Attended<T, kPairs> attended;
  for (int key = first * kKeys; key <= position; key += splits.count * kSplitWarps * kKeys) {
    TileOf& tile = ring.wait();
    if (key + kKeys > position) {
      tile.insert(memory.fresh, position - key, dim);
      __syncwarp();
    }
    // In two parts, since two chains of products are faster than one.
    float score[4] = {}, score_too[4] = {};
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const uint4 low = tile.key_part(0, i, dim), high = tile.key_part(1, i, dim), q = query[i];
      Mma<T>::multiply(score, low.x, high.x, low.y, high.y, q.x, q.y);
      Mma<T>::multiply(score_too, low.z, high.z, low.w, high.w, q.z, q.w);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) score[i] = (score[i] + score_too[i]) * problem.scale_log2;
    attended.weigh(score, position + 1 - key, group);
    const uint32_t low_weights = transpose(pack<T>(score[0], score[1]));
    const uint32_t high_weights = transpose(pack<T>(score[2], score[3]));
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      uint4 value[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) value[i] = tile.value_part(i, j, dim);
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        const auto word = [&](int i) {
          return t == 0 ? value[i].x : t == 1 ? value[i].y : t == 2 ? value[i].z : value[i].w;
        };
        Mma<T>::multiply(attended.sums[j][t], __byte_perm(word(0), word(1), 0x5410),
                         __byte_perm(word(0), word(1), 0x7632),
                         __byte_perm(word(2), word(3), 0x5410),
                         __byte_perm(word(2), word(3), 0x7632), low_weights, high_weights);
      }
    }
    ring.advance();
  }
  attended.store(memory.found(threadIdx.x / 32, splits.stages), heads.count, group, member);
}

}  // namespace fewbit::cuda::attention
