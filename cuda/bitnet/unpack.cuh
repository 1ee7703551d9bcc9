// Ternary codes out of their words (src/ops/bitnet_layout.h), as bytes for int8 products.
#pragma once

#include <cstdint>

namespace fewbit::cuda::bitnet {

constexpr uint32_t kField = 0x03030303u;

// Columns 4 field .. 4 field + 3 of a word's sixteen.
__device__ __forceinline__ uint32_t unpack(uint32_t word, int field) {
  return word >> 2 * field & kField;
}

// The same columns times 4^field: one operation less, for sums of each field that are kept apart. Bytes
// are unsigned.
__device__ __forceinline__ uint32_t mask_field(uint32_t word, int field) {
  return word & kField << 2 * field;
}

}  // namespace fewbit::cuda::bitnet
