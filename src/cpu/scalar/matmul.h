// Portable matmul tiles.
#pragma once

#include "../kernels.h"

namespace fewbit::cpu::scalar {

void matmul_f32(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
                int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate);
void matmul_f16(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
                int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate);
void matmul_bf16(const float* x, int64_t x_stride, const void* w, int64_t w_stride, int64_t k,
                 int64_t rows, int64_t cols, float* out, int64_t out_stride, bool accumulate);
void matmul_s8(const int8_t* x, int64_t x_stride, const int32_t* x_sums, const int8_t* w,
               int64_t w_stride, int64_t k, int64_t rows, int64_t cols, int32_t* out,
               int64_t out_stride, bool accumulate);
void matmul_ternary(const int8_t* x, int64_t x_stride, const int32_t* x_sums, const int8_t* w,
                    int64_t w_stride, int64_t k, int64_t rows, int64_t cols, int32_t* out,
                    int64_t out_stride, bool accumulate);

}  // namespace fewbit::cpu::scalar
