// One call of attention over a cache of few bits in the terms its kernels use.
#pragma once

#include "../../src/ops/kv_codes.h"
#include "../attention/problem.cuh"
#include "codes.cuh"

namespace fewbit::cuda::kv {

// The caches of the base are rows of packed codes; dim is the dimension of a head.
struct Problem : attention::Problem {
  // Static scales, then zero points, by channel; null: pairs of scale and smallest value by token.
  const float* key_grid;
  const float* value_grid;
  const __half2* key_scales;
  const __half2* value_scales;
  const float* query_grid;  // null: queries stay as they are
  float largest_query;      // code
  int32_t row_bytes;

  __device__ const uint8_t* key_row(int64_t cache_row) const {
    return static_cast<const uint8_t*>(key_cache) + cache_row * row_bytes;
  }
  __device__ const uint8_t* value_row(int64_t cache_row) const {
    return static_cast<const uint8_t*>(value_cache) + cache_row * row_bytes;
  }

  // A value of q, rounded onto its grid if there is one.
  __device__ float query_value(int row, int head, int element) const {
    const int channel = head * dim + element;
    return rounded_query(load_float(q, dtype, row * q_stride + channel), channel);
  }
  __device__ float rounded_query(float x, int channel) const {
    if (!query_grid) return x;
    const float scale = query_grid[channel], zero = query_grid[query_heads * dim + channel];
    return scale * (static_code(x, scale, zero, largest_query) - zero);
  }

  // Grid of a channel of a key-value head.
  __device__ float scale_of(const float* grid, int kv_head, int element) const {
    return grid[kv_head * dim + element];
  }
  __device__ float zero_of(const float* grid, int kv_head, int element) const {
    return grid[(kv_heads + kv_head) * dim + element];
  }
};

// At most one row a sequence, for what fits_decode takes (decode_8.cu, decode_4.cu, decode_3.cu).
bool fits_decode(const Problem& problem);
size_t decode_workspace(const Problem& problem, const Context& context);
template <int Bits>
void run_decode(const Problem& problem, Context& context, void* workspace);

// Any rows, for what fits_prefill takes (prefill.cu).
bool fits_prefill(const Problem& problem);
void run_prefill(const Problem& problem, int bits, Context& context);

// Any rows, head dimensions and dtypes, slowly (generic.cu).
void run_generic(const Problem& problem, int bits, Context& context);

}  // namespace fewbit::cuda::kv
