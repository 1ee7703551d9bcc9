// One decode step of attention: cache_append and attention in one, for at most one row a sequence.
//   q and k are rotated by the row's position (when a rope table is given), each rounded to its dtype;
//   k and v go to the cache at slots[t]; out[t] = attention of the rotated q[t] over the keys
//   0 .. positions[t] of its sequence, the last of which is the new one
// The conventions are those of cache_append.h and attention.h. slots[t] must be where
// block_table[sequences[t]] has key positions[t]. A negative position or slot marks a padding row:
// it yields zeros and writes nothing. q, k and v stay as they are.
// q float[T, Hq*D], k and v float[T, Hkv*D] (rows may be spaced apart), positions, slots and
// sequences i32[T], block_table i32[S, P], rope f32[P', D], caches float[pages, Hkv, page_size, D],
// out float[T, Hq*D].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::decode_attention {

enum Tensor {
  q,
  k,
  v,
  positions,
  slots,
  sequences,
  block_table,
  rope,
  key_cache,
  value_cache,
  out
};
enum Attr { scale };

inline const OpSpec spec{
    "decode_attention",
    {{"q", Access::Read},
     {"k", Access::Read},
     {"v", Access::Read},
     {"positions", Access::Read},
     {"slots", Access::Read},
     {"sequences", Access::Read},
     {"block_table", Access::Read},
     {"rope", Access::Read, true},
     {"key_cache", Access::Update},
     {"value_cache", Access::Update},
     {"out", Access::Write}},
    {"scale"},
    [](const OpCall& call) {
      const TensorView& cache = call[key_cache];
      const int64_t rows = call[q].rows(), heads = cache.shape[1], dim = cache.shape[3];
      Checker check(spec, call);
      check.shape(q, {-1, -1})
          .dtype(q, {DType::F32, DType::F16, DType::BF16})
          .shape(key_cache, {-1, -1, -1, -1})
          .shape(value_cache, {cache.shape[0], heads, cache.shape[2], dim})
          .require(heads > 0 && cache.shape[2] > 0 && dim > 0, "the cache must not be empty")
          .shape(k, {rows, heads * dim})
          .shape(v, {rows, heads * dim})
          .require(call[q].cols() % dim == 0 && call[q].cols() / dim % heads == 0,
                   "q must hold a multiple of the cache's heads")
          .require(dim % 2 == 0, "the head dimension must be even");
      for (int tensor : {k, v, key_cache, value_cache, out}) check.same_dtype(tensor, q);
      for (int tensor : {positions, slots, sequences}) {
        check.shape(tensor, {rows}).dtype(tensor, {DType::I32});
      }
      check.shape(block_table, {-1, -1})
          .dtype(block_table, {DType::I32})
          .shape(rope, {-1, dim})
          .dtype(rope, {DType::F32})
          .shape(out, {rows, call[q].cols()})
          .contiguous(key_cache)
          .contiguous(value_cache)
          .contiguous(block_table)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::decode_attention
