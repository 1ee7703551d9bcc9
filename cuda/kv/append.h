// Rows of q, k and v on their way into a cache of few bits, see src/ops/cache_append_quantized.h.
#pragma once

#include <cuda_fp16.h>

#include "../../src/ops/cache_append_quantized.h"
#include "../common/context.h"

namespace fewbit::cuda::kv {

// Keys or values, and where their codes go.
struct Side {
  const void* x;
  const float* grid;  // null: dynamic
  uint32_t* cache;
  __half2* scales;
  int64_t stride;
};

struct CodeRows {
  void* q;
  Side key, value;
  const int32_t* positions;
  const int32_t* slots;
  const float* rope;  // null: no rotation
  int64_t q_stride, rope_rows, cache_slots;
  int32_t rows, query_heads, kv_heads, dim, page_size, low_words, row_words;

  // Heads of a row that have anything to be done: those of q only turn.
  __host__ __device__ int turning() const { return rope ? query_heads : 0; }
  __host__ __device__ int heads() const { return turning() + 2 * kv_heads; }
};

// Of a call of cache_append_quantized.
inline CodeRows rows_of(const OpCall& call) {
  using namespace ops::cache_append_quantized;
  const TensorView& cache = call[key_cache];
  const int width = static_cast<int>(call.attrs[bits]);
  const int64_t kv_heads = cache.shape[1], dim = call[k].cols() / kv_heads;
  const auto side = [&](int x, int grid, int codes, int scales) {
    return Side{.x = call[x].data,
                .grid = call[grid].as<float>(),
                .cache = call[codes].as<uint32_t>(),
                .scales = call[scales].as<__half2>(),
                .stride = call[x].row_stride()};
  };
  return {.q = call[q].data,
          .key = side(k, key_grid, key_cache, key_scales),
          .value = side(v, value_grid, value_cache, value_scales),
          .positions = call[positions].as<int32_t>(),
          .slots = call[slots].as<int32_t>(),
          .rope = call[rope].as<float>(),
          .q_stride = call[q].row_stride(),
          .rope_rows = call[rope] ? call[rope].shape[0] : 0,
          .cache_slots = cache.shape[0] * cache.shape[2],
          .rows = static_cast<int32_t>(call[q].rows()),
          .query_heads = static_cast<int32_t>(call[q].cols() / dim),
          .kv_heads = static_cast<int32_t>(kv_heads),
          .dim = static_cast<int32_t>(dim),
          .page_size = static_cast<int32_t>(cache.shape[2]),
          .low_words = static_cast<int32_t>(ops::kv::low_words(dim, width)),
          .row_words = static_cast<int32_t>(ops::kv::row_bytes(dim, width) / 4)};
}

void append_rows(const CodeRows& rows, DType dtype, int bits, Context& context);

}  // namespace fewbit::cuda::kv
