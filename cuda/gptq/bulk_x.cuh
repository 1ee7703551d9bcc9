// How bulk_matmul's multipliers get x.
#pragma once

#include "bulk_stages.cuh"
#include "limbs.cuh"

namespace fewbit::cuda::gptq {

// A warp's own pieces of x, as limbs in shared memory, and their sums and units: of each slice the warp's
// part of `to` and `columns`, which have those of all warps. Calls `asked` once x, or the beginning of a
// long one, is on its way.
template <class T, int Bits, int Warps, class Asked>
__device__ __forceinline__ void put_x(const LinearGptq& p, int slices, uint32_t* to,
                                      LimbColumns* columns, Asked asked) {
  constexpr int kBatch = 8;  // slices whose loads are under way at a time
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int part = lane % 4, weight = limb_weight(part);
  for (int first = 0; first < slices; first += kBatch) {
    LimbValues values[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (i >= kBatch / 2 && first + i >= slices) break;
      const int piece = (first + i) * Warps * kWarpPieces + lane / 16 * Warps + warp;
      const int at = piece * kBulkPiece + limb_position<Bits>(lane);
      const auto load = [&](int position) {
        return position < p.depth
                   ? *reinterpret_cast<const uint2*>(static_cast<const T*>(p.x) + position)
                   : uint2{0, 0};
      };
      values[i] = LimbValues{load(at), load(at + kFarValues<Bits>)};
    }
    if (first == 0) asked();
#pragma unroll
    for (int i = 0; i < kBatch; i += 2) {
      // Two slices at a time, of which one's latencies hide the other's.
      if (first + i >= slices) break;
      const bool both = first + i + 1 < slices;
      uint32_t* limbs = to + ((first + i) * Warps + warp) * kLimbWords;
      const float units[] = {
          put_limbs<T, Bits>(values[i], lane, limbs, true),
          put_limbs<T, Bits>(values[i + 1], lane, limbs + Warps * kLimbWords, both)};
      __syncwarp();
      // Twice the first if there is no second.
      const uint32_t from = hopper::shared_address(limbs + limb_words(lane));
      int sums[2];
      sum_limbs(from, both ? from + Warps * kLimbWords * 4 : from, weight, sums);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float unit = __shfl_sync(kFullWarp, units[j], part / 2 * 16);
        if (lane < 4 && (j == 0 || both)) {
          columns[((first + i + j) * Warps + warp) * 4 + part] =
              LimbColumns{sums[j], part % 2 ? unit * 65536 : unit};
        }
      }
    }
  }
  __syncwarp();
}

}  // namespace fewbit::cuda::gptq
