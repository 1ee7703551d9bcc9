// What fused_matmul does to a tile besides copying and multiplying it: scales and zero points staged,
// codes unpacked.
#pragma once

#include "../common/hopper.cuh"
#include "fragments.cuh"
#include "linear_gptq.h"

namespace fewbit::cuda::gptq {

constexpr int kTileParts = kTileDepth / kChunk;  // that may be of different groups

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Stages the scales and zero points of what a stage holds, as FragmentUnpacker takes them: [parts][rows]
// for its 32-position parts, or one for all of them. A warp does a stage; its lanes share the rows of the
// weight, Columns of them.
template <class T, int Bits, int Columns>
class GridStager {
 public:
  __device__ __forceinline__ GridStager(const Weight& w, int first_column, int lane, float to_group)
      : zeros_(w.zeros), last_group_(w.groups - 1), to_group_(to_group), lane_(lane) {
    const auto last_row = static_cast<int>(w.rows - 1);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      first_[i] = min(first_column + lane + i * 32, last_row) * w.groups;
    }
  }

  // first_chunk: number of the stage's first part in the row.
  template <class Scale>
  __device__ __forceinline__ void stage(const Scale* scales, int first_chunk, int parts,
                                        uint2* to) const {
    for (int part = 0; part < parts; ++part) {
      const auto chunk = static_cast<float>(first_chunk + part);
      const int group = min(static_cast<int>((chunk + 0.5f) * to_group_), last_group_);
      Scale scale[kRows];
      uint8_t zero[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        scale[i] = scales[first_[i] + group];
        zero[i] = zeros_[first_[i] + group];
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        to[part * Columns + lane_ + i * 32] =
            FragmentUnpacker<T, Bits>::grid_of(to_float(scale[i]), zero[i]);
      }
    }
  }

 private:
  static constexpr int kRows = Columns / 32;

  const uint8_t* zeros_;
  int last_group_;
  float to_group_;
  int lane_;
  int first_[kRows];
};

template <int Step, class T, int Bits>
__device__ __forceinline__ void unpack_step(const HalfTileWords<Bits> (&words)[2],
                                            const FragmentUnpacker<T, Bits>& upper,
                                            const FragmentUnpacker<T, Bits>& lower, int part,
                                            uint32_t (&a)[4]) {
  upper.template unpack<Step>(words[0], part, a[0], a[2]);
  lower.template unpack<Step>(words[1], part, a[1], a[3]);
}

// Half a tile of 64 positions; grids: those of its two 32-position parts, for both rows.
template <class T, int Bits>
__device__ __forceinline__ void unpack_half(const HalfTileWords<Bits> (&words)[2],
                                            const uint2 (&grids)[2][2], int part,
                                            uint32_t (&a)[4][4]) {
  {
    const FragmentUnpacker<T, Bits> upper(grids[0][0]), lower(grids[0][1]);
    unpack_step<0, T, Bits>(words, upper, lower, part, a[0]);
    unpack_step<1, T, Bits>(words, upper, lower, part, a[1]);
  }
  const FragmentUnpacker<T, Bits> upper(grids[1][0]), lower(grids[1][1]);
  unpack_step<2, T, Bits>(words, upper, lower, part, a[2]);
  unpack_step<3, T, Bits>(words, upper, lower, part, a[3]);
}

#endif

}  // namespace fewbit::cuda::gptq
