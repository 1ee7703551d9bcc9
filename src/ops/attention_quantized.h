// attention (see attention.h) over a paged cache of few bits, as cache_append_quantized writes it:
//   out[t, h] = softmax_j(scale * q[t, h] . K[j, h / group]) V[j, h / group]
// on the values K and V that the codes stand for (kv_codes.h); softmax and sums in fp32.
// With grids the codes are static by channel, else scales belong to every token and head.
// A query grid rounds every value of q as it is read, to what it would be as a code of query_bits
// bits, 8 or 4, static by channel (kv_codes.h); without one, query_bits means nothing.
// q float[T, Hq*D] (rows may be spaced apart), query_grid f32[2, Hq*D], caches u8[pages, Hkv, page_size, row bytes],
// grids f32[2, Hkv*D], scales f16[pages, Hkv, page_size, 2], block_table i32[S, P],
// sequences and positions i32[T], out float[T, Hq*D]; head_dim = D.
#pragma once

#include "../core/op_spec.h"
#include "kv_codes.h"

namespace fewbit::ops::attention_quantized {

enum Tensor {
  q,
  query_grid,
  key_cache,
  value_cache,
  key_grid,
  value_grid,
  key_scales,
  value_scales,
  block_table,
  sequences,
  positions,
  out
};
enum Attr { bits, head_dim, scale, query_bits };

inline const OpSpec spec{
    "attention_quantized",
    {{"q", Access::Read},
     {"query_grid", Access::Read, true},
     {"key_cache", Access::Read},
     {"value_cache", Access::Read},
     {"key_grid", Access::Read, true},
     {"value_grid", Access::Read, true},
     {"key_scales", Access::Read, true},
     {"value_scales", Access::Read, true},
     {"block_table", Access::Read},
     {"sequences", Access::Read},
     {"positions", Access::Read},
     {"out", Access::Write}},
    {"bits", "head_dim", "scale", "query_bits"},
    [](const OpCall& call) {
      const int width = static_cast<int>(call.attrs[bits]);
      const auto dim = static_cast<int64_t>(call.attrs[head_dim]);
      Checker(spec, call)
          .require(kv::is_width(width), "bits must be 3, 4 or 8")
          .require(dim > 0, "head_dim must be positive")
          .shape(q, {-1, -1})
          .dtype(q, {DType::F32, DType::F16, DType::BF16})
          .shape(query_grid, {2, call[q].cols()})
          .dtype(query_grid, {DType::F32})
          .require(!call[query_grid] || call.attrs[query_bits] == 8 || call.attrs[query_bits] == 4,
                   "query_bits must be 8 or 4")
          .shape(key_cache, {-1, -1, -1, kv::row_bytes(dim, width)});
      const TensorView& cache = call[key_cache];
      const int64_t rows = call[q].rows(), heads = cache.shape[1];
      Checker(spec, call)
          .require(heads > 0 && cache.shape[2] > 0, "the cache must not be empty")
          .require(call[q].cols() % (dim * heads) == 0,
                   "q must hold a multiple of the cache's heads")
          .dtype(key_cache, {DType::U8})
          .shape(value_cache, {cache.shape[0], heads, cache.shape[2], cache.shape[3]})
          .dtype(value_cache, {DType::U8})
          .require(!call[key_grid] == !call[value_grid] && !call[key_scales] == !call[value_scales],
                   "keys and values are quantized alike")
          .require(!call[key_grid] != !call[key_scales], "either grids or scales must be given")
          .shape(key_grid, {2, heads * dim})
          .dtype(key_grid, {DType::F32})
          .shape(value_grid, {2, heads * dim})
          .dtype(value_grid, {DType::F32})
          .shape(key_scales, {cache.shape[0], heads, cache.shape[2], 2})
          .dtype(key_scales, {DType::F16})
          .shape(value_scales, {cache.shape[0], heads, cache.shape[2], 2})
          .dtype(value_scales, {DType::F16})
          .same_dtype(out, q)
          .shape(block_table, {-1, -1})
          .dtype(block_table, {DType::I32})
          .shape(sequences, {rows})
          .dtype(sequences, {DType::I32})
          .shape(positions, {rows})
          .dtype(positions, {DType::I32})
          .shape(out, {rows, call[q].cols()})
          .contiguous(query_grid)
          .contiguous(key_cache)
          .contiguous(value_cache)
          .contiguous(key_grid)
          .contiguous(value_grid)
          .contiguous(key_scales)
          .contiguous(value_scales)
          .contiguous(block_table)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::attention_quantized
