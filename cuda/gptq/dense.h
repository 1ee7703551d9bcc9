// linear_gptq by way of a dequantized weight, a few of its rows at a time: right for any groups, and
// fast where x has so many rows that dequantizing costs little beside the product.
#pragma once

#include "linear_gptq.h"

namespace fewbit::cuda::gptq {

// Bytes of the buffer for the weight in 16 bits and, where the product's own result is not what is
// asked for, for that.
size_t dense_workspace(const LinearGptq& linear, const Context& context);

// Lets the matrix library choose its kernels.
void prepare_dense(const LinearGptq& linear, void* buffer, Context& context);

void multiply_dense(const LinearGptq& linear, void* buffer, Context& context);

}  // namespace fewbit::cuda::gptq
