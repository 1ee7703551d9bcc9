// The queries of a block as its products want them: times the scales of the keys, and in two fp16
// parts, so that nothing is lost by the codes' being exact. Column 2h of a tile of eight is the high
// part of head h, column 2h + 1 the low one.
#pragma once

#include "../attention/fragment.cuh"
#include "../attention/splits.cuh"
#include "fragments.cuh"
#include "problem.cuh"

namespace fewbit::cuda::kv {

constexpr int kColumnHeads = 4;  // of a tile of columns

// In shared memory, spaced so that four lanes' runs of elements and four heads meet no bank twice.
template <int Width>
struct SharedQueries {
  static constexpr int kStride = Width + 8;
  float values[attention::kTileHeads][kStride];

  static __device__ __forceinline__ int place(int element) { return element + element / 32; }
};

// The part of a thread of a block in bringing the queries there. scales are those of the keys.
template <int Dim, bool Dynamic, int Columns>
struct LoadedQueries {
  static constexpr int kMost =
      (kColumnHeads * Columns * Dim + attention::kSplitThreads - 1) / attention::kSplitThreads;
  // Angles of a thread: where heads divide the threads, all its elements have the same.
  static constexpr int kAngles = attention::kSplitThreads % Dim == 0 ? 1 : kMost;
  uint32_t values[kMost], partners[kMost];  // what a value turns with
  float cosine[kAngles], sine[kAngles];
  bool turns;

  static __device__ __forceinline__ int element(int j) {
    return (j * attention::kSplitThreads + static_cast<int>(threadIdx.x)) % Dim;
  }

  // angles: those of the row's position, or null; no kernel writes them.
  __device__ __forceinline__ void turn(const float* angles) {
    turns = angles;
    if (!turns) return;
#pragma unroll
    for (int j = 0; j < kAngles; ++j) {
      const int at = element(j) % (Dim / 2);
      cosine[j] = angles[at];
      sine[j] = angles[at + Dim / 2];
    }
  }

  __device__ __forceinline__ void load(const Problem& problem, const attention::Heads& heads,
                                       bool rotated) {
    const int64_t first = heads.row * problem.q_stride + heads.first * Dim;
#pragma unroll
    for (int j = 0; j < kMost; ++j) {
      const int i = j * attention::kSplitThreads + threadIdx.x;
      const int other = element(j) < Dim / 2 ? i + Dim / 2 : i - Dim / 2;
      const bool exists = i < heads.count * Dim;
      values[j] = exists ? load_bits(problem.q, first + i) : 0u;
      partners[j] = exists && rotated ? load_bits(problem.q, first + other) : 0u;
    }
  }

  // A barrier must follow.
  template <int Width>
  __device__ __forceinline__ void store(const Problem& problem, const attention::Heads& heads,
                                        const float (&scales)[Width],
                                        SharedQueries<Width>& to) const {
#pragma unroll
    for (int j = 0; j < kMost; ++j) {
      const int i = j * attention::kSplitThreads + threadIdx.x;
      if (i >= heads.count * Dim) break;
      float q = value_of(problem.dtype, values[j]);
      if (turns) {
        const float partner = value_of(problem.dtype, partners[j]);
        const float turned = element(j) < Dim / 2 ? -partner : partner;
        q = round_to(problem.dtype, q * cosine[j % kAngles] + turned * sine[j % kAngles]);
      }
      q = problem.rounded_query(q, heads.first * Dim + i);
      to.values[i / Dim][to.place(element(j))] = Dynamic ? q : q * scales[element(j)];
    }
  }
};

// A thread's part of bringing the static grids of a head into shared memory. Elements past the head
// are zeros.
template <int Dim>
struct Grids {
  float key_scale = 0.0f, scale = 0.0f, zero = 0.0f;  // the last two of values

  __device__ __forceinline__ void load(const Problem& problem, int kv_head) {
    const int i = static_cast<int>(threadIdx.x);
    if (i >= Dim) return;
    key_scale = problem.scale_of(problem.key_grid, kv_head, i);
    scale = problem.scale_of(problem.value_grid, kv_head, i);
    zero = problem.zero_of(problem.value_grid, kv_head, i);
  }
  // A barrier must follow.
  template <int Width>
  __device__ __forceinline__ void store(float (&key_scales)[Width], float (&grid)[2][Width]) const {
    static_assert(Width <= attention::kSplitThreads);
    const int i = static_cast<int>(threadIdx.x);
    if (i >= Width) return;
    key_scales[i] = key_scale;
    grid[0][i] = scale;
    grid[1][i] = zero;
  }
};

// A lane's part of a tile of columns.
template <int Bits, int Dim>
struct QueryFragment {
  using Keys = KeyCodes<Bits, Dim>;
  static constexpr int kProducts = RowShape<Bits, Dim>::kProducts;
  uint32_t registers[kProducts][2];
  float unit;  // of this lane's head's scores, as powers of two
  float sum;   // of the head's elements, in the same terms as unit * score

  __device__ __forceinline__ void load(const SharedQueries<RowShape<Bits, Dim>::kWidth>& shared,
                                       int first_head, int heads, float scale_log2) {
    const int lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
    const int head = first_head + group / 2;
    const auto value = [&](int i, int second, int half) {
      const int element = Keys::element(member, i, second, half);
      return head < heads && element < Dim ? shared.values[head][shared.place(element)] : 0.0f;
    };
    // Four sums and four maxima side by side, which do not wait for each other.
    float values[kProducts][4], mosts[4] = {}, totals[4] = {};
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        values[i][j] = value(i, j / 2, j % 2);
        mosts[j] = fmaxf(mosts[j], fabsf(values[i][j]));
        totals[j] += values[i][j];
      }
    }
    float most = fmaxf(fmaxf(mosts[0], mosts[1]), fmaxf(mosts[2], mosts[3]));
    float total = (totals[0] + totals[1]) + (totals[2] + totals[3]);
#pragma unroll
    for (int offset = 1; offset < 4; offset *= 2) {
      most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, offset));
      total += __shfl_xor_sync(kFullWarp, total, offset);
    }
    // A power of two brings the largest element to 2^8 .. 2^9, whatever the scales are.
    const int exponent = min(max(static_cast<int>(__float_as_uint(most) >> 23), 16), 254);
    const float gain = __uint_as_float(static_cast<uint32_t>(262 - exponent) << 23);
    const float inverse = __uint_as_float(static_cast<uint32_t>(exponent - 8) << 23);
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
#pragma unroll
      for (int second = 0; second < 2; ++second) {
        float part[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float x = values[i][2 * second + half] * gain;
          const float high = __half2float(__float2half_rn(x));
          part[half] = (group % 2 ? x - high : high) * (Bits != 8 && second ? kUpper : 1.0f);
        }
        registers[i][second] = pack<__half>(part[0], part[1]);
      }
    }
    // Columns 2 * member and 2 * member + 1 are a lane's in the products' results.
    unit = __shfl_sync(kFullWarp, inverse * kCodeUnit * scale_log2, 8 * member);
    sum = __shfl_sync(kFullWarp, total * scale_log2, 8 * member);
  }
};

}  // namespace fewbit::cuda::kv
