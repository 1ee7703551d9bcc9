// linear_int8 for up to four rows: see common/gemv.cuh. Outliers are spread
// over the lanes of the warp that owns an output; their weights are bytes of
// rows that the warp reads anyway.
#include "common/gemv.cuh"
#include "int8/linear_int8.h"
#include "int8/product.cuh"

namespace fewbit::cuda::int8 {

namespace {

struct GemvResult {
  static constexpr bool kHasPart = true;

  Product p;

  template <int Rows, int Batch>
  __device__ __forceinline__ void part(float (&extra)[Rows][Batch], int64_t first, int lane) const {
    const int count = p.outliers_here();
    for (int i = lane; i < count; i += 32) {
      const int outlier = p.outliers[i];
      const int slot = p.slot_of(outlier);
      float weight[Rows];
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        weight[r] = p.outlier_weight(min(first + r, p.columns - 1), outlier, slot);
      }
#pragma unroll
      for (int b = 0; b < Batch; ++b) {
        const float x = p.x[b * p.x_columns + outlier];
#pragma unroll
        for (int r = 0; r < Rows; ++r) extra[r][b] = fmaf(x, weight[r], extra[r][b]);
      }
    }
  }

  __device__ __forceinline__ void store(int64_t column, int64_t row, int32_t sum,
                                        float outlier_sum) const {
    const float value = p.dequantize(static_cast<float>(sum), p.scales[row],
                                     p.weight_scales[column], p.bias.data ? p.bias[column] : 0.0f);
    store_float(p.out, p.out_dtype, row * p.columns + column, p.finish(value, outlier_sum));
  }
};

}  // namespace

void multiply_by_gemv(const Product& product, Context& context) {
  // Padding rows of the weight have no result.
  const GemvOperands<int8_t> operands{product.weight, product.codes, product.columns,
                                      product.depth};
  launch_gemv("linear_int8", operands, product.rows, GemvResult{product}, context);
}

}  // namespace fewbit::cuda::int8
