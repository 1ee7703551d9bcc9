// wgmma of 16-bit floating-point tiles with f32 sums: m64nNk16, laid out as warpgroup.cuh says. The
// number of sums d gives N; T is __half or __nv_bfloat16.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "operands.cuh"
#include "warpgroup.cuh"

namespace fewbit::cuda::hopper {

// Two statements each: the types as an operand ("C") would do with one, but change how the compiler
// treats the loops around it.
template <class T>
inline constexpr bool kIsHalf = std::is_same_v<T, __half>;

// --- A in shared memory ---------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ void wgmma(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  if constexpr (kIsHalf<T>) {
    asm volatile(
        FEWBIT_WGMMA("m64n128k16.f32.f16.f16", FEWBIT_NAMES_64, "%64", "%65", "%66", ", 1, 1, 0, 0")
        : FEWBIT_SUMS_64("+f", d, 0)
        : "l"(a), "l"(b), "r"(accumulate));
  } else {
    asm volatile(FEWBIT_WGMMA("m64n128k16.f32.bf16.bf16", FEWBIT_NAMES_64, "%64", "%65", "%66",
                              ", 1, 1, 0, 0")
                 : FEWBIT_SUMS_64("+f", d, 0)
                 : "l"(a), "l"(b), "r"(accumulate));
  }
}

// --- A in registers; B transposed if its descriptor is --------------------------------------------

template <class T, bool Transposed = false>
__device__ __forceinline__ void wgmma(float (&d)[8], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  if constexpr (kIsHalf<T>) {
    asm volatile(FEWBIT_WGMMA("m64n16k16.f32.f16.f16", FEWBIT_NAMES_8, "{%8,%9,%10,%11}", "%12",
                              "%13", ", 1, 1, %14")
                 : FEWBIT_SUMS_8("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  } else {
    asm volatile(FEWBIT_WGMMA("m64n16k16.f32.bf16.bf16", FEWBIT_NAMES_8, "{%8,%9,%10,%11}", "%12",
                              "%13", ", 1, 1, %14")
                 : FEWBIT_SUMS_8("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  }
}

template <class T, bool Transposed = false>
__device__ __forceinline__ void wgmma(float (&d)[16], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  if constexpr (kIsHalf<T>) {
    asm volatile(FEWBIT_WGMMA("m64n32k16.f32.f16.f16", FEWBIT_NAMES_16, "{%16,%17,%18,%19}", "%20",
                              "%21", ", 1, 1, %22")
                 : FEWBIT_SUMS_16("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  } else {
    asm volatile(FEWBIT_WGMMA("m64n32k16.f32.bf16.bf16", FEWBIT_NAMES_16, "{%16,%17,%18,%19}",
                              "%20", "%21", ", 1, 1, %22")
                 : FEWBIT_SUMS_16("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  }
}

template <class T, bool Transposed = false>
__device__ __forceinline__ void wgmma(float (&d)[32], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  if constexpr (kIsHalf<T>) {
    asm volatile(FEWBIT_WGMMA("m64n64k16.f32.f16.f16", FEWBIT_NAMES_32, "{%32,%33,%34,%35}", "%36",
                              "%37", ", 1, 1, %38")
                 : FEWBIT_SUMS_32("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  } else {
    asm volatile(FEWBIT_WGMMA("m64n64k16.f32.bf16.bf16", FEWBIT_NAMES_32, "{%32,%33,%34,%35}",
                              "%36", "%37", ", 1, 1, %38")
                 : FEWBIT_SUMS_32("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  }
}

template <class T, bool Transposed = false>
__device__ __forceinline__ void wgmma(float (&d)[64], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  if constexpr (kIsHalf<T>) {
    asm volatile(FEWBIT_WGMMA("m64n128k16.f32.f16.f16", FEWBIT_NAMES_64, "{%64,%65,%66,%67}", "%68",
                              "%69", ", 1, 1, %70")
                 : FEWBIT_SUMS_64("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  } else {
    asm volatile(FEWBIT_WGMMA("m64n128k16.f32.bf16.bf16", FEWBIT_NAMES_64, "{%64,%65,%66,%67}",
                              "%68", "%69", ", 1, 1, %70")
                 : FEWBIT_SUMS_64("+f", d, 0)
                 : FEWBIT_A(a), "l"(b), "r"(accumulate), "n"(Transposed));
  }
}

}  // namespace fewbit::cuda::hopper
