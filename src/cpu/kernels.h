// The inner loops that CPU ops are built from, chosen at run time for the processor at hand.
// Every level computes the same integers; floats may differ between levels in the last bits, but
// within one level a value depends on its own row alone, never on how many rows or threads there
// are or on where a tile begins.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../core/dtype.h"
#include "affine_chunks.h"
#include "gptq_span.h"

// The SIMD levels rely on GCC's target pragma; other compilers and processors use the scalar one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FEWBIT_X86_SIMD 1
#endif

namespace fewbit::cpu {

// Values a matmul tile sums before it touches out; longer sums go in blocks of this size, which
// keeps a tile of x in the first-level cache (and makes the block part of the summation order).
constexpr int64_t kMatmulBlock = 1024;

// out[i, j] = (accumulate ? out[i, j] : 0) + sum_k x[i, k] * w[j, k]
// for i < rows, j < cols. Strides count elements. 16-bit weights are widened in registers.
using MatmulTile = void (*)(const float* x, int64_t x_stride, const void* w, int64_t w_stride,
                            int64_t k, int64_t rows, int64_t cols, float* out, int64_t out_stride,
                            bool accumulate);

// The same on int8 codes, exact modulo 2^32. x_sums[i] = sum_k x[i, k] over these k, which the
// unsigned-by-signed instructions need; k is a multiple of 16.
using MatmulTileS8 = void (*)(const int8_t* x, int64_t x_stride, const int32_t* x_sums,
                              const int8_t* w, int64_t w_stride, int64_t k, int64_t rows,
                              int64_t cols, int32_t* out, int64_t out_stride, bool accumulate);

// out[i, j] = sum over groups of scale * (sum of (code - zero point) * x) for i < rows, j < cols <= 4
// (ops/linear_affine.h), on activations in chunk order. weight has four rows; those behind cols are
// read, not used. The sums of a group are exact.
using MatmulAffine = void (*)(const AffineInput& x, int64_t rows, const AffineRow* weight,
                              const AffineShape& shape, int64_t cols, float* out,
                              int64_t out_stride);

// Turns a product of codes back into one of values.
constexpr float kCodeProduct = 1.0f / (127.0f * 127.0f);

struct Kernels {
  // Indexed by the DType of the weights: F32, F16, BF16.
  MatmulTile matmul[3];
  MatmulTileS8 matmul_s8;
  // On ternary weights as ops/bitnet_layout.h packs them (w_stride counts bytes) and a multiple of
  // 64 codes of x in the order of ternary_order.h. x_sums[i] is what to take off for the weights'
  // codes being 1 too large.
  MatmulTileS8 matmul_ternary;
  int32_t (*sum_s8)(const int8_t* x, int64_t n);

  // Conversions, indexed by the other DType: F32 (a copy), F16, BF16.
  void (*widen[3])(const void* x, int64_t n, float* out);
  void (*narrow[3])(const float* x, int64_t n, void* out);

  void (*add)(const float* a, const float* b, int64_t n, float* out);
  void (*multiply)(const float* a, const float* b, int64_t n, float* out);
  // out = gate * sigmoid(gate) * up
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // out = max(gate, 0)^2 * up; a NaN stays.
  void (*relu2_mul)(const float* gate, const float* up, int64_t n, float* out);

  float (*sum)(const float* x, int64_t n);
  // sum (x - center)^2
  float (*sum_squares)(const float* x, int64_t n, float center);
  // out = (x - center) * factor * weight + bias; weight and bias may be null.
  void (*normalize)(const float* x, int64_t n, float center, float factor, const float* weight,
                    const float* bias, float* out);

  // The largest value, -inf for n = 0. A NaN may or may not win.
  float (*max)(const float* x, int64_t n);
  // out = exp(x - shift); returns the sum. A NaN among x makes the sum NaN. out may be x.
  float (*exp_sum)(const float* x, int64_t n, float shift, float* out);
  // y[j] += sum_i c[i] * w[i, j] for i < count, j < n, in the order of i.
  void (*rank_update)(const float* c, int64_t count, const float* w, int64_t w_stride, int64_t n,
                      float* y);

  // The bit pattern of max |x| over values that are not >= limit in magnitude. Infinity and NaN
  // order above every number. A NaN limit excludes nothing.
  uint32_t (*absmax)(const float* x, int64_t n, float limit);
  // flags[i] |= |x[i]| >= limit
  void (*mark_outliers)(const float* x, int64_t n, float limit, uint8_t* flags);
  // codes = clamp(round_half_even(x * factor), -127, 127), 0 where x * factor is NaN
  void (*quantize)(const float* x, int64_t n, float factor, int8_t* codes);
  // codes = clamp(round_half_even(x / scales) + zeros, -2^(bits - 1), 2^(bits - 1) - 1), 0 for a
  // NaN (ops/affine_codes.h)
  void (*quantize_grid)(const float* x, int64_t n, const float* scales, const float* zeros,
                        int bits, int8_t* codes);
  // out = sums * scale * scales / 127^2 + bias; bias may be null.
  void (*dequantize)(const int32_t* sums, int64_t n, float scale, const float* scales,
                     const float* bias, float* out);

  // out[i] = scale * (code - zero) for the positions of span, whose count is rounded up to a
  // multiple of 32 here; what is behind the count may be anything.
  void (*dequantize_gptq)(const GptqSpan& span, float* out);
  // The matmul of dequantized weights for few rows, at most gptq_rows of them, and cols <= 4; the
  // same values as by dequantize_gptq and matmul[F32]. The spans are four, alike in all but their
  // pointers; those behind cols are read, not used.
  void (*matmul_gptq)(const float* x, int64_t x_stride, const GptqSpan* spans, int64_t rows,
                      int64_t cols, float* out, int64_t out_stride, bool accumulate);
  int64_t gptq_rows;  // 0 where there is no such matmul

  // Indexed by the bits of the weight; null where there is none.
  MatmulAffine matmul_affine[9];
};

// The table of the chosen level: the best that the processor has, or the one that the environment
// variable FEWBIT_CPU_ISA (scalar, avx2, avx512) names. Throws Error("ERR_FEWBIT_CPU_ISA") when
// that one is unknown or not available here.
const Kernels& kernels();

// The name of the chosen level: "scalar", "avx2" or "avx512". Throws as kernels() does.
const char* cpu_isa();

// What the processor and the operating system offer of what the kernels can use, for reports:
// "avx2", "fma", "f16c", "avx512f", ..., "avx512_vnni".
std::vector<std::string> cpu_features();

// One level each, built on the one before: fill what they do better and leave the rest.
void use_scalar(Kernels& table);
void use_avx2(Kernels& table);
void use_avx512(Kernels& table);
void use_avx512_vnni(Kernels& table);

}  // namespace fewbit::cpu
