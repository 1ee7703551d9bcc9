// Rotates q in place and k on its way into the paged cache (when a rope table is given), and
// appends k and v.
//   rope[p, 0 .. D/2) = cos, rope[p, D/2 .. D) = sin of position p
//   element i rotates with element i + D/2 (Hugging Face's rotate_half convention), in fp32
//   slot = page * page_size + offset; a negative slot marks a padding row, which writes nothing
// q float[T, Hq*D], k and v float[T, Hkv*D] (rows may be spaced apart), positions and slots i32[T],
// rope f32[P, D], caches float[pages, Hkv, page_size, D] of the dtype of k.
// Hq, Hkv and D follow from the shapes.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::cache_append {

enum Tensor { q, k, v, positions, slots, rope, key_cache, value_cache };

inline const OpSpec spec{
    "cache_append",
    {{"q", Access::Update},
     {"k", Access::Read},
     {"v", Access::Read},
     {"positions", Access::Read},
     {"slots", Access::Read},
     {"rope", Access::Read, true},
     {"key_cache", Access::Update},
     {"value_cache", Access::Update}},
    {},
    [](const OpCall& call) {
      const TensorView& cache = call[key_cache];
      const int64_t rows = call[q].rows(), heads = cache.shape[1], dim = cache.shape[3];
      Checker(spec, call)
          .shape(q, {-1, -1})
          .dtype(q, {DType::F32, DType::F16, DType::BF16})
          .shape(key_cache, {-1, -1, -1, -1})
          .shape(value_cache, {cache.shape[0], heads, cache.shape[2], dim})
          .require(heads > 0 && cache.shape[2] > 0 && dim > 0, "the cache must not be empty")
          .shape(k, {rows, heads * dim})
          .shape(v, {rows, heads * dim})
          .require(call[q].cols() % dim == 0 && call[q].cols() / dim % heads == 0,
                   "q must hold a multiple of the cache's heads")
          .require(dim % 2 == 0, "the head dimension must be even")
          .same_dtype(k, q)
          .same_dtype(v, q)
          .same_dtype(key_cache, q)
          .same_dtype(value_cache, q)
          .shape(positions, {rows})
          .dtype(positions, {DType::I32})
          .shape(slots, {rows})
          .dtype(slots, {DType::I32})
          .shape(rope, {-1, dim})
          .dtype(rope, {DType::F32})
          .contiguous(key_cache)
          .contiguous(value_cache);
    }};

}  // namespace fewbit::ops::cache_append
