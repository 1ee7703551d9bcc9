// The level of AVX2, FMA and F16C. What comes before the pragma is compiled for any processor:
// inline functions of the standard library must be, as the linker may keep this file's copy of one
// for the whole program.
#include "../kernels.h"

#ifdef FEWBIT_X86_SIMD

#pragma GCC target("avx2,fma,f16c")

#include "../simd/matmul_gptq.h"
#include "../simd/table.h"
#include "affine.h"
#include "gptq.h"
#include "matmul_s8.h"
#include "matmul_ternary.h"
#include "vec.h"

namespace fewbit::cpu {

void use_avx2(Kernels& table) {
  simd::fill<avx2::Vec>(table);
  table.dequantize_gptq = simd::dequantize_gptq<avx2::Gptq>;
  table.matmul_gptq = simd::matmul_gptq<avx2::Gptq>;
  table.gptq_rows = avx2::Gptq::kFewRows;
  table.matmul_affine[3] = simd::matmul_affine_of<avx2::Affine, 3>;
  table.matmul_affine[4] = simd::matmul_affine_of<avx2::Affine, 4>;
  table.matmul_s8 = simd::matmul_s8<avx2::Widening>;
  table.matmul_ternary = simd::matmul_s8<avx2::Ternary>;
}

}  // namespace fewbit::cpu

#endif
