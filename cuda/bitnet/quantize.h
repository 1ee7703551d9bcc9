// The operands of the op bitnet_quantize (src/ops/bitnet_quantize.h).
#pragma once

#include "../../src/core/dtype.h"
#include "../common/context.h"
#include "../common/gate.cuh"

namespace fewbit::cuda::bitnet {

struct Quantize {
  const void* x;
  const void* up;      // may be null
  const void* weight;  // of the norm; may be null
  DType dtype;         // of x and up
  DType weight_dtype;
  int64_t x_stride, up_stride;
  int64_t rows, cols, padded_cols;
  Gate activation;
  float eps;

  int8_t* codes;
  float* scales;
  int32_t* sums;
};

// Rows of all operands start at multiples of 16 bytes and have a multiple of 8 columns.
bool vectors_fit(const Quantize& q);

// bitnet_quantize.cu: the op.
void quantize(const Quantize& q, Context& context);

}  // namespace fewbit::cuda::bitnet
