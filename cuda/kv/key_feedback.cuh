// One key rounded by a warp so that its errors make up for each other: see src/ops/key_round.h.
#pragma once

#include "../../src/ops/key_round.h"
#include "../common/reduce.cuh"
#include "problem.cuh"

namespace fewbit::cuda::kv {

// A head's elements in the lanes of a warp: 2 * lane and 2 * lane + 1 of each 64.
template <int Dim>
struct PairLanes {
  static constexpr int kRuns = (Dim + 63) / 64;
  using Values = float[kRuns][2];

  // Calls body(c, e, element) for what the lane holds.
  template <class Body>
  static __device__ __forceinline__ void each(Body&& body) {
#pragma unroll
    for (int c = 0; c < kRuns; ++c) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int element = 64 * c + 2 * static_cast<int>(threadIdx.x % 32) + e;
        if (element < Dim) body(c, e, element);
      }
    }
  }
};

template <int Bits, int Dim>
class KeyFeedback {
  using Lanes = PairLanes<Dim>;
  using Values = typename Lanes::Values;
  static constexpr int kRuns = Lanes::kRuns;

 public:
  static constexpr bool kKnown = Bits < 8;  // keys of 8 bits are rounded to the nearest

  // from: feedback of the head, [Dim][Dim]. The loads are all under way at once.
  __device__ __forceinline__ void load(const __half* from) {
    if constexpr (kKnown) load_groups<0>(from + 2 * (threadIdx.x % 32));
  }

  // Calls put(element, code) for every element of the lane.
  template <class Put>
  __device__ __forceinline__ void round(const Values& x, const Values& scale, const Values& zero,
                                        Put&& put) const {
    Values added = {};
    round_groups<0>(x, scale, zero, added, put);
  }

 private:
  static constexpr int end_of_group(int begin) {
    return begin + static_cast<int>(ops::key_round::group_size(Dim - begin));
  }
  // Whether any element of run c comes after a group.
  static constexpr bool reaches(int end, int c) { return 64 * c + 63 >= end && end < Dim; }

  template <int Begin>
  __device__ __forceinline__ void load_groups(const __half* from) {
    constexpr int kEnd = end_of_group(Begin);
    if constexpr (kEnd < Dim) {
#pragma unroll
      for (int j = Begin; j < kEnd; ++j) {
#pragma unroll
        for (int c = 0; c < kRuns; ++c) {
          if (!reaches(kEnd, c)) continue;
          const bool exists = 64 * c + 2 * static_cast<int>(threadIdx.x % 32) < Dim;
          const auto* at = reinterpret_cast<const __half2*>(from + j * Dim + 64 * c);
          weights_[j][c] = exists ? __ldg(at) : __half2{};
        }
      }
      load_groups<kEnd>(from);
    }
  }

  template <int Begin, class Put>
  __device__ __forceinline__ void round_groups(const Values& x, const Values& scale,
                                               const Values& zero, Values& added, Put& put) const {
    constexpr float kLargest = ops::kv::largest_code(Bits);
    constexpr int kEnd = end_of_group(Begin);
    Values errors = {};
    Lanes::each([&](int c, int e, int element) {
      if (element < Begin || element >= kEnd) return;
      const float code =
          static_code(__fadd_rn(x[c][e], added[c][e]), scale[c][e], zero[c][e], kLargest);
      errors[c][e] = __fsub_rn(__fmul_rn(scale[c][e], code - zero[c][e]), x[c][e]);
      put(element, code);
    });
    if constexpr (kEnd < Dim) {
#pragma unroll
      for (int j = Begin; j < kEnd; ++j) {
        const float error = __shfl_sync(kFullWarp, errors[j / 64][j % 2], j % 64 / 2);
#pragma unroll
        for (int c = 0; c < kRuns; ++c) {
          if (!reaches(kEnd, c)) continue;
          const float2 weight = __half22float2(weights_[j][c]);
          // Not fused: the CPU's sums, so that both round alike.
          added[c][0] = __fadd_rn(added[c][0], __fmul_rn(error, weight.x));
          added[c][1] = __fadd_rn(added[c][1], __fmul_rn(error, weight.y));
        }
      }
      round_groups<kEnd>(x, scale, zero, added, put);
    }
  }

  __half2 weights_[kKnown ? Dim : 1][kRuns];
};

}  // namespace fewbit::cuda::kv
