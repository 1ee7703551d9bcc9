// wgmma of int8 tiles with s32 sums: m64nNk32, laid out as warpgroup.cuh says. The number of sums d
// gives N.
#pragma once

#include <cstdint>

#include "operands.cuh"
#include "warpgroup.cuh"

namespace fewbit::cuda::hopper {

// --- A in shared memory ---------------------------------------------------------------------------

__device__ __forceinline__ void wgmma(int32_t (&d)[32], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n64k32.s32.s8.s8", FEWBIT_NAMES_32, "%32", "%33", "%34", "")
               : FEWBIT_SUMS_32("+r", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[40], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n80k32.s32.s8.s8", FEWBIT_NAMES_40, "%40", "%41", "%42", "")
               : FEWBIT_SUMS_40("+r", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[48], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n96k32.s32.s8.s8", FEWBIT_NAMES_48, "%48", "%49", "%50", "")
               : FEWBIT_SUMS_48("+r", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n128k32.s32.s8.s8", FEWBIT_NAMES_64, "%64", "%65", "%66", "")
               : FEWBIT_SUMS_64("+r", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[96], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n192k32.s32.s8.s8", FEWBIT_NAMES_96, "%96", "%97", "%98", "")
               : FEWBIT_SUMS_96("+r", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n256k32.s32.s8.s8", FEWBIT_NAMES_128, "%128", "%129", "%130", "")
               : FEWBIT_SUMS_128("+r", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

// --- A in registers -------------------------------------------------------------------------------

__device__ __forceinline__ void wgmma(int32_t (&d)[16], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(
      FEWBIT_WGMMA("m64n32k32.s32.s8.s8", FEWBIT_NAMES_16, "{%16,%17,%18,%19}", "%20", "%21", "")
      : FEWBIT_SUMS_16("+r", d, 0)
      : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[32], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(
      FEWBIT_WGMMA("m64n64k32.s32.s8.s8", FEWBIT_NAMES_32, "{%32,%33,%34,%35}", "%36", "%37", "")
      : FEWBIT_SUMS_32("+r", d, 0)
      : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[64], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(
      FEWBIT_WGMMA("m64n128k32.s32.s8.s8", FEWBIT_NAMES_64, "{%64,%65,%66,%67}", "%68", "%69", "")
      : FEWBIT_SUMS_64("+r", d, 0)
      : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[80], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(
      FEWBIT_WGMMA("m64n160k32.s32.s8.s8", FEWBIT_NAMES_80, "{%80,%81,%82,%83}", "%84", "%85", "")
      : FEWBIT_SUMS_80("+r", d, 0)
      : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[96], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(
      FEWBIT_WGMMA("m64n192k32.s32.s8.s8", FEWBIT_NAMES_96, "{%96,%97,%98,%99}", "%100", "%101", "")
      : FEWBIT_SUMS_96("+r", d, 0)
      : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[104], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n208k32.s32.s8.s8", FEWBIT_NAMES_104, "{%104,%105,%106,%107}",
                            "%108", "%109", "")
               : FEWBIT_SUMS_104("+r", d, 0)
               : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma(int32_t (&d)[128], const uint32_t (&a)[4], uint64_t b,
                                      int accumulate) {
  asm volatile(FEWBIT_WGMMA("m64n256k32.s32.s8.s8", FEWBIT_NAMES_128, "{%128,%129,%130,%131}",
                            "%132", "%133", "")
               : FEWBIT_SUMS_128("+r", d, 0)
               : FEWBIT_A(a), "l"(b), "r"(accumulate));
}

}  // namespace fewbit::cuda::hopper
