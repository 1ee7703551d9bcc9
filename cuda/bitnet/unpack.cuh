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

// As Mma<int8_t> (mma.cuh), of unsigned rows.
__device__ __forceinline__ void multiply_unsigned(int32_t (&d)[4], uint32_t a0, uint32_t a1,
                                                  uint32_t a2, uint32_t a3, uint32_t b0,
                                                  uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

}  // namespace fewbit::cuda::bitnet
