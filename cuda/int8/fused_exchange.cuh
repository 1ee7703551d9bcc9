// Where several warpgroups of the fused kernel hold sums of the same results: how each gets the total
// of its share.
#pragma once

#include <utility>

#include "../common/hopper.cuh"
#include "fused_shape.cuh"

namespace fewbit::cuda::int8 {

constexpr int kConsumerBarrier = 1;  // 0 is __syncthreads()

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Calls body with index, one of 0 .. Count - 1, as a constant: registers have no run-time index.
template <int Count, class Body>
__device__ __forceinline__ void with_constant(int index, Body body) {
  [&]<int... Constant>(std::integer_sequence<int, Constant...>) {
    ((index == Constant ? body(std::integral_constant<int, Constant>{}) : void()), ...);
  }
  (std::make_integer_sequence<int, Count>{});
}

// Leaves the sum of all parts' sums in own, for this part's share of the fragments. Each block writes
// what others need into its buffer, and each thread says by itself that it has.
template <class Shape, int Split>
__device__ __forceinline__ void exchange_sums(const int32_t (&sums)[Shape::kFragments * 4],
                                              int32_t (&own)[Shape::kOwnFragments * 4],
                                              int4* buffer, uint64_t& written, int part, int tile,
                                              int thread) {
  constexpr int kOwn = Shape::kOwnFragments, kGroups = Shape::kDepthGroups;
  const auto place = [&](int group, int owner, int fragment) {
    return &buffer[((group * Shape::kParts + owner) * kOwn + fragment) * Shape::kExchangeThreads +
                   thread % Shape::kExchangeThreads];
  };
#pragma unroll
  for (int owner = 0; owner < Shape::kParts; ++owner) {
    if (owner == part) continue;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int32_t* four = &sums[(owner * kOwn + i) * 4];
      *place(part % kGroups, owner, i) = int4{four[0], four[1], four[2], four[3]};
    }
  }
  if constexpr (Split > 1) {
    for (int block = 0; block < Split; ++block) {
      hopper::release_to(written, static_cast<uint32_t>(block * Shape::kTiles + tile));
    }
    hopper::acquire(written, 0);
  } else {
    hopper::named_sync<kConsumerBarrier, kConsumerThreads>();
  }
  with_constant<Shape::kParts>(part, [&](auto owner) {
#pragma unroll
    for (int i = 0; i < kOwn * 4; ++i) own[i] = sums[owner * kOwn * 4 + i];
  });
#pragma unroll
  for (int i = 1; i < Shape::kParts; ++i) {
    const int other = (part + i) % Shape::kParts;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int4* from = place(other % kGroups, part, j);
      int4 four;
      if constexpr (Split > 1) {
        four = hopper::load_remote(from,
                                   static_cast<uint32_t>(other / kGroups * Shape::kTiles + tile));
      } else {
        four = *from;
      }
      own[4 * j] += four.x;
      own[4 * j + 1] += four.y;
      own[4 * j + 2] += four.z;
      own[4 * j + 3] += four.w;
    }
  }
}

#endif

}  // namespace fewbit::cuda::int8
