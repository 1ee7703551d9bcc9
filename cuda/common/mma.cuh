// Tensor-core products of one warp, m16n8 with 32 bytes of K. With g = lane / 4, t = lane % 4:
//   a[0] row g, a[1] row g + 8: bytes 4t .. 4t+3;  a[2], a[3]: the same rows, bytes 16+4t .. 16+4t+3
//   b[0] column g: bytes 4t .. 4t+3;  b[1]: bytes 16+4t .. 16+4t+3
//   d[0], d[1] row g, columns 2t and 2t+1;  d[2], d[3] row g + 8
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace fewbit::cuda {

// The instruction for a shape and types; sums are of the constraint `kind`.
#define FEWBIT_MMA(shape, kind)                                 \
  asm volatile("mma.sync.aligned." shape                        \
               " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "       \
               "{%0,%1,%2,%3};"                                 \
               : kind(d[0]), kind(d[1]), kind(d[2]), kind(d[3]) \
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))

// d += A B. T is the type of A; B has the same, but int8 beside an unsigned A.
template <class T>
struct Mma {
  using Accumulator = std::conditional_t<sizeof(T) == 1, int32_t, float>;

  static __device__ __forceinline__ void multiply(Accumulator (&d)[4], uint32_t a0, uint32_t a1,
                                                  uint32_t a2, uint32_t a3, uint32_t b0,
                                                  uint32_t b1) {
    if constexpr (std::is_same_v<T, int8_t>) {
      FEWBIT_MMA("m16n8k32.row.col.s32.s8.s8.s32", "+r");
    } else if constexpr (std::is_same_v<T, uint8_t>) {
      FEWBIT_MMA("m16n8k32.row.col.s32.u8.s8.s32", "+r");
    } else if constexpr (std::is_same_v<T, __half>) {
      FEWBIT_MMA("m16n8k16.row.col.f32.f16.f16.f32", "+f");
    } else {
      static_assert(std::is_same_v<T, __nv_bfloat16>);
      FEWBIT_MMA("m16n8k16.row.col.f32.bf16.bf16.f32", "+f");
    }
  }
};

#undef FEWBIT_MMA

}  // namespace fewbit::cuda
