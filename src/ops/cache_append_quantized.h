// cache_append for a cache of few bits: rotates q in place and k on its way (when a rope table is
// given), quantizes k and v and writes their codes; kv_codes.h says how.
// With grids the codes are static by channel, else dynamic by token and head; then scales are
// written, too. A negative slot marks a padding row, which writes nothing. A NaN gets the code 0.
// q float[T, Hq*D], k and v float[T, Hkv*D] (rows may be spaced apart), positions and slots i32[T],
// rope f32[P, D], grids f32[2, Hkv*D], caches u8[pages, Hkv, page_size, row bytes],
// scales f16[pages, Hkv, page_size, 2].
#pragma once

#include "../core/op_spec.h"
#include "kv_codes.h"

namespace fewbit::ops::cache_append_quantized {

enum Tensor {
  q,
  k,
  v,
  positions,
  slots,
  rope,
  key_grid,
  value_grid,
  key_cache,
  value_cache,
  key_scales,
  value_scales
};
enum Attr { bits };

inline const OpSpec spec{
    "cache_append_quantized",
    {{"q", Access::Update},
     {"k", Access::Read},
     {"v", Access::Read},
     {"positions", Access::Read},
     {"slots", Access::Read},
     {"rope", Access::Read, true},
     {"key_grid", Access::Read, true},
     {"value_grid", Access::Read, true},
     {"key_cache", Access::Update},
     {"value_cache", Access::Update},
     {"key_scales", Access::Update, true},
     {"value_scales", Access::Update, true}},
    {"bits"},
    [](const OpCall& call) {
      const int width = static_cast<int>(call.attrs[bits]);
      const TensorView& cache = call[key_cache];
      Checker(spec, call)
          .require(kv::is_width(width), "bits must be 3, 4 or 8")
          .shape(q, {-1, -1})
          .dtype(q, {DType::F32, DType::F16, DType::BF16})
          .shape(k, {call[q].rows(), -1})
          .shape(key_cache, {-1, -1, -1, -1})
          .require(cache.shape[1] > 0 && cache.shape[2] > 0, "the cache must not be empty");
      const int64_t rows = call[q].rows(), heads = cache.shape[1], keys = call[k].cols();
      const int64_t dim = keys / heads;
      Checker(spec, call)
          .require(dim > 0 && keys % heads == 0 && dim % 2 == 0,
                   "k must hold the cache's heads, of an even dimension")
          .require(call[q].cols() % keys == 0, "q must hold a multiple of the cache's heads")
          .shape(key_cache, {-1, -1, -1, kv::row_bytes(dim, width)})
          .dtype(key_cache, {DType::U8})
          .shape(value_cache, {cache.shape[0], heads, cache.shape[2], cache.shape[3]})
          .dtype(value_cache, {DType::U8})
          .shape(v, {rows, keys})
          .same_dtype(k, q)
          .same_dtype(v, q)
          .shape(positions, {rows})
          .dtype(positions, {DType::I32})
          .shape(slots, {rows})
          .dtype(slots, {DType::I32})
          .shape(rope, {-1, dim})
          .dtype(rope, {DType::F32})
          .require(!call[key_grid] == !call[value_grid] && !call[key_scales] == !call[value_scales],
                   "keys and values are quantized alike")
          .require(!call[key_grid] != !call[key_scales], "either grids or scales must be given")
          .shape(key_grid, {2, keys})
          .dtype(key_grid, {DType::F32})
          .shape(value_grid, {2, keys})
          .dtype(value_grid, {DType::F32})
          .shape(key_scales, {cache.shape[0], heads, cache.shape[2], 2})
          .dtype(key_scales, {DType::F16})
          .shape(value_scales, {cache.shape[0], heads, cache.shape[2], 2})
          .dtype(value_scales, {DType::F16})
          .contiguous(key_grid)
          .contiguous(value_grid)
          .contiguous(key_cache)
          .contiguous(value_cache)
          .contiguous(key_scales)
          .contiguous(value_scales);
    }};

}  // namespace fewbit::ops::cache_append_quantized
