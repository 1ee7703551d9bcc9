// One call of attention over a cache of few bits in the terms its kernels use.
#pragma once

#include "../../src/ops/attention_quantized.h"
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

// Of a call of attention_quantized.
inline Problem problem_of(const OpCall& call) {
  using namespace ops::attention_quantized;
  Problem problem{};
  static_cast<attention::Problem&>(problem) =
      attention::problem_of(call[q], call[key_cache], call[value_cache], call[block_table],
                            call[sequences], call[positions], call[out], call.attrs[scale]);
  // The last extent of these caches is bytes.
  problem.dim = static_cast<int32_t>(call.attrs[head_dim]);
  problem.query_heads = static_cast<int32_t>(call[q].cols() / problem.dim);
  problem.group = problem.query_heads / problem.kv_heads;
  problem.key_grid = call[key_grid].as<float>();
  problem.value_grid = call[value_grid].as<float>();
  problem.key_scales = call[key_scales].as<__half2>();
  problem.value_scales = call[value_scales].as<__half2>();
  problem.query_grid = call[query_grid].as<float>();
  problem.largest_query =
      static_cast<float>(ops::kv::largest_code(static_cast<int>(call.attrs[query_bits])));
  problem.row_bytes = static_cast<int32_t>(call[key_cache].shape[3]);
  return problem;
}

// What a decode step brings: one new key and value a row, at the row's position.
struct Append {
  const void* k;
  const void* v;
  const float* rope;       // null: no rotation
  const __half* feedback;  // null: keys are rounded to the nearest codes
  int64_t k_stride, v_stride;
  int32_t rope_rows;

  // Cosines, then sines, of a position; null: nothing turns.
  __device__ const float* angles(const Problem& problem, int position) const {
    return rope && position >= 0 ? rope + int64_t{position} * problem.dim : nullptr;
  }
};

// Where a row's new key goes, as the inputs have it. They are loaded at once.
struct Place {
  int position, sequence;

  static __device__ __forceinline__ Place read(const Problem& problem, int row) {
    return {__ldcg(problem.positions + row), __ldcg(problem.sequences + row)};
  }
  __device__ bool operator==(const Place& other) const {
    return (position == other.position) & (sequence == other.sequence);
  }
  // Whether there is room for it in the block table and in the rope's.
  __device__ __forceinline__ bool is_inside(const Problem& problem, const Append& append) const {
    return position >= 0 && sequence >= 0 && sequence < problem.table_rows &&
           problem.page_of(position) < problem.table_columns &&
           (!append.rope || position < append.rope_rows);
  }
  // The page of a place inside, or -1.
  __device__ __forceinline__ int page(const Problem& problem) const {
    return __ldcg(problem.block_table + int64_t{sequence} * problem.table_columns +
                  problem.page_of(position));
  }
  // Its position, or -1 if the row only pads the batch.
  __device__ __forceinline__ int known(const Problem& problem, const Append& append) const {
    return is_inside(problem, append) && page(problem) >= 0 ? position : -1;
  }
};

// A 16-bit element as it lies in memory, and its value. A conversion right behind a load, which
// depends on the dtype, would make every load wait for the one before.
__device__ __forceinline__ uint32_t load_bits(const void* data, int64_t index) {
  return static_cast<const uint16_t*>(data)[index];
}
__device__ __forceinline__ float value_of(DType dtype, uint32_t bits) {
  return dtype == DType::F16 ? to_float(__ushort_as_half(static_cast<uint16_t>(bits)))
                             : __uint_as_float(bits << 16);
}

// A decode step that appends, for what fits_decode takes where a block may have so much shared memory
// (decode_8.cu, decode_4.cu, decode_3.cu).
bool fits_decode(const Problem& problem);
template <int Bits>
size_t decode_shared_bytes(const Problem& problem);
size_t decode_workspace(const Problem& problem, const Context& context);
template <int Bits>
void run_decode(const Problem& problem, const Append& append, Context& context, void* workspace);

// Any rows, for what fits_prefill takes (prefill.cu).
bool fits_prefill(const Problem& problem);
void run_prefill(const Problem& problem, int bits, Context& context);

// Any rows, head dimensions and dtypes, slowly (generic.cu).
void run_generic(const Problem& problem, int bits, Context& context);

// Any problem.
inline void run_attention(const Problem& problem, int bits, Context& context) {
  if (fits_prefill(problem)) return run_prefill(problem, bits, context);
  run_generic(problem, bits, context);
}

}  // namespace fewbit::cuda::kv
