// Sums of products of codes and ternary weights on the tensor cores, weights straight from their words.
#pragma once

#include "../common/mma.cuh"
#include "unpack.cuh"

namespace fewbit::cuda::bitnet {

// The sums of a tile, by the field of a word that the weights were in: field f is 4^f times too large.
struct FieldSums {
  int32_t field[4][4] = {};

  // Adds the products of 16 bytes of two rows of W, eight apart, and 64 codes of rows of X.
  __device__ __forceinline__ void add(const uint4& upper, const uint4& lower,
                                      const uint4 (&codes)[4]) {
    const uint32_t u[4] = {upper.x, upper.y, upper.z, upper.w};
    const uint32_t l[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const uint32_t x[2][4] = {{codes[i].x, codes[i].y, codes[i].z, codes[i].w},
                                {codes[i + 1].x, codes[i + 1].y, codes[i + 1].z, codes[i + 1].w}};
#pragma unroll
      for (int f = 0; f < 4; ++f) {
        Mma<uint8_t>::multiply(field[f], mask_field(u[i], f), mask_field(l[i], f),
                               mask_field(u[i + 1], f), mask_field(l[i + 1], f), x[0][f], x[1][f]);
      }
    }
  }

  // The same with the codes in the order that paired_place() gives them, as the products read them.
  __device__ __forceinline__ void add_paired(const uint4& upper, const uint4& lower,
                                             const uint4 (&pairs)[4]) {
    const uint32_t u[4] = {upper.x, upper.y, upper.z, upper.w};
    const uint32_t l[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
#pragma unroll
      for (int f = 0; f < 4; ++f) {
        const uint4& x = pairs[i + f / 2];
        Mma<uint8_t>::multiply(field[f], mask_field(u[i], f), mask_field(l[i], f),
                               mask_field(u[i + 1], f), mask_field(l[i + 1], f), f % 2 ? x.z : x.x,
                               f % 2 ? x.w : x.y);
      }
    }
  }

  // The shifts are exact.
  __device__ __forceinline__ int32_t total(int at) const {
    return field[0][at] + (field[1][at] >> 2) + (field[2][at] >> 4) + (field[3][at] >> 6);
  }
};

}  // namespace fewbit::cuda::bitnet
