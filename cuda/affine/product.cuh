// The operands of the op linear_affine (src/ops/linear_affine.h).
#pragma once

#include "../../src/ops/affine_codes.h"
#include "../common/activation.cuh"
#include "../common/convert.cuh"

namespace fewbit::cuda::affine {

constexpr int kChunk = static_cast<int>(ops::affine::kChunk);
constexpr int kBlock = 32;                // positions of one step of a tensor-core product
constexpr int kBlocks = kChunk / kBlock;  // in a chunk

struct Product {
  const uint8_t* x;      // [rows, depth] as int8, or packed in 4 bits
  const uint8_t* low;    // the planes of the weight
  const uint8_t* high;   // of 3 bits
  const void* scales;    // [columns, groups]
  const uint8_t* zeros;  // likewise, or null
  const void* bias;      // [columns], or null
  DType scales_dtype, bias_dtype;
  int x_bits, bits;
  int64_t rows, columns, depth;  // depth is a multiple of 32
  int groups, group_size;

  void* out;  // [rows, columns], rows out_stride apart
  DType out_dtype;
  int64_t out_stride;
  Activation activation;
  // The weights were complete before any kernel that may still run began, so that they may be read
  // ahead of wait_for_predecessor().
  bool weights_settled;

  __host__ __device__ int chunks() const { return static_cast<int>((depth + kChunk - 1) / kChunk); }
  __host__ __device__ int64_t x_row_bytes() const { return depth * x_bits / 8; }

  __device__ __forceinline__ float bias_at(int64_t column) const {
    return bias ? load_float(bias, bias_dtype, column) : 0.0f;
  }
};

// How many 32-position blocks are sure to be of one group, and start with it if they are fewer than a
// chunk's: 4, 2 or 1.
inline int group_blocks(const Product& p) {
  if (p.groups <= 1 || p.group_size % kChunk == 0) return 4;
  return p.group_size % 64 == 0 ? 2 : 1;
}

// The scale of a group and, in each byte, its zero point.
struct GroupTerm {
  float scale;
  uint32_t zeros;
};

__device__ __forceinline__ GroupTerm group_term(const Product& p, int64_t column, int group) {
  const int64_t at = column * p.groups + group;
  return {load_float(p.scales, p.scales_dtype, at), p.zeros ? p.zeros[at] * 0x01010101u : 0u};
}

}  // namespace fewbit::cuda::affine
