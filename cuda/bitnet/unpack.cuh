// Ternary codes out of their words (src/ops/bitnet_layout.h), as bytes for int8 products.
#pragma once

#include <cstdint>

namespace fewbit::cuda::bitnet {

constexpr uint32_t kField = 0x03030303u;

// Columns 4 field .. 4 field + 3 of a word's sixteen.
__device__ __forceinline__ uint32_t unpack(uint32_t word, int field) {
  return word >> 2 * field & kField;
}

// Fields 0 and 2 as codes, fields 1 and 3 as four times the codes: two operations less than
// unpacking all four, for sums that are kept apart.
struct FieldPairs {
  uint32_t even[2];
  uint32_t odd_times_four[2];
};

__device__ __forceinline__ FieldPairs unpack_pairs(uint32_t word) {
  const uint32_t upper = word >> 4;
  return {{word & kField, upper & kField}, {word & kField << 2, upper & kField << 2}};
}

}  // namespace fewbit::cuda::bitnet
