// The operands of the op linear_gptq (src/ops/linear_gptq.h) and the ways to compute it;
// cuda/linear_gptq.cu chooses.
#pragma once

#include "../../src/core/abi.h"
#include "../../src/ops/gptq_layout.h"
#include "../common/activation.cuh"
#include "../common/captured.h"
#include "../common/context.h"

namespace fewbit::cuda::gptq {

using ops::gptq::padded;

// A weight as gptq_layout.h has it.
struct Weight {
  const uint8_t* codes;
  const uint8_t* high;  // the top bits of 3-bit codes
  const void* scales;   // [rows, groups]
  DType scales_dtype;
  const uint8_t* zeros;  // [rows, groups], all below 2^bits
  int64_t rows;
  int64_t positions;
  int bits;
  int group_size;  // at most positions
  int groups;

  // Bytes from one row of a plane of fields of some width to the next.
  __host__ __device__ int64_t row_bytes(int width) const { return padded(positions) * width / 8; }

  // What turns the number of a part of a row, of so many positions, into its group: rounded down, once
  // half a part is added.
  float to_group(int part) const {
    return groups <= 1 ? 0.0f : static_cast<float>(part) / static_cast<float>(group_size);
  }
};

struct LinearGptq {
  Weight weight;
  DType dtype;    // of x: f16 or bf16
  const void* x;  // [rows, depth], columns in the order of positions
  int64_t rows;
  int64_t depth;     // positions, or with padding; what lies behind is zero
  const void* bias;  // [weight.rows], or null
  DType bias_dtype;
  void* out;  // rows out_stride elements apart
  DType out_dtype;
  int64_t out_stride;
  Activation activation;
};

// linear_gptq_gather.cu: columns of x (x_columns of them) in the order of positions, zeros for
// padding. to [rows, depth].
void gather_columns(const LinearGptq& linear, const void* x, int64_t x_columns,
                    const int32_t* order, void* to, Context& context);

// linear_gptq_bulk.cu: one row and up to 4 bits on sm_90, where groups consist of whole pieces of 128
// positions. Bytes go as fast with the next.
bool bulk_fits(const LinearGptq& linear, const Context& context);
void multiply_bulk(const LinearGptq& linear, Context& context);

// linear_gptq_ring.cu: up to 16 rows on sm_90, with such groups.
bool ring_fits(const LinearGptq& linear, const Context& context);
void multiply_ring(const LinearGptq& linear, Context& context);

// linear_gptq_stream.cu: few rows on any GPU, and any number of rows correctly, where groups begin at
// multiples of 32 positions. It comes in variants, which change no bit of the result.
bool stream_fits(const LinearGptq& linear, const Context& context);
int stream_variant(const LinearGptq& linear, const Context& context);
void multiply_streaming(const LinearGptq& linear, int variant, Context& context);

// linear_gptq_fused.cu: more rows, on sm_90a.
bool fused_fits(const LinearGptq& linear, const Context& context);
void multiply_fused(const LinearGptq& linear, Context& context);

// linear_gptq_dequantize.cu: rows first .. first + count of the weight as [count, depth] of the
// dtype of x.
void dequantize(const LinearGptq& linear, int64_t first, int64_t count, void* to, Context& context);

}  // namespace fewbit::cuda::gptq
