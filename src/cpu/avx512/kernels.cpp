// The level of AVX-512 F, BW, VL and DQ. What comes before the pragma is compiled for any
// processor (see avx2/kernels.cpp).
#include "../kernels.h"

#ifdef FEWBIT_X86_SIMD

// GCC 12's own headers pass deliberately undefined registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")

#include "../simd/matmul_gptq.h"
#include "../simd/table.h"
#include "gptq.h"
#include "vec.h"

namespace fewbit::cpu {

void use_avx512(Kernels& table) {
  simd::fill<avx512::Vec>(table);
  table.dequantize_gptq = simd::dequantize_gptq<avx512::Gptq>;
  table.matmul_gptq = simd::matmul_gptq<avx512::Gptq>;
  table.gptq_rows = avx512::Gptq::kFewRows;
}

}  // namespace fewbit::cpu

#endif
