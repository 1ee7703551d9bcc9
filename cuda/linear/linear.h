// The ways to compute the 16-bit linear; cuda/linear.cu chooses.
#pragma once

#include "../../src/core/abi.h"
#include "../common/context.h"

namespace fewbit::cuda {

// The operands of the op linear (src/ops/linear.h).
struct Linear {
  DType dtype;  // of x and weight: f16 or bf16
  const void* x;
  const void* weight;
  const void* bias;  // may be null
  DType bias_dtype;
  void* out;
  DType out_dtype;
  int64_t rows, columns, depth;
  int activation;
  bool vendor_library;  // to be used wherever it can be
};

// Whether rows of x and weight are multiples of 16 bytes, which the fast kernels need.
bool linear_aligned(const Linear& linear);

// linear_gemv.cu: dot products, for up to four aligned rows.
void linear_by_gemv(const Linear& linear, Context& context);

// linear_stream.cu: for a few rows, and right for any number of rows and alignment.
void linear_streaming(const Linear& linear, Context& context);

// linear_bias.cu: out = activation(out + bias) in place, what a library product left to do.
void add_bias(const Linear& linear, Context& context);

}  // namespace fewbit::cuda
