// One decode step of attention over a cache of few bits: key_round (where feedback is given),
// cache_append_quantized and attention_quantized in one, for at most one row a sequence.
//   q and k are rotated by the row's position (when a rope table is given), q rounded to its dtype;
//   codes of k and v go to where block_table[sequences[t]] has key positions[t]; out[t] = attention
//   of the rotated q[t] over the keys 0 .. positions[t], the last of which is the new one, as its
//   codes have it
// The conventions are those of the three ops; feedback belongs to keys with grids. A negative position
// marks a padding row, and so does a page that is not there (a negative entry, or one past the table's
// end): it yields zeros and writes nothing. q, k and v stay as they are.
// q float[T, Hq*D], k and v float[T, Hkv*D] (rows may be spaced apart), positions and sequences i32[T],
// block_table i32[S, P], rope f32[P', D], query_grid f32[2, Hq*D], grids f32[2, Hkv*D],
// feedback f16[Hkv, D, D], caches u8[pages, Hkv, page_size, row bytes],
// scales f16[pages, Hkv, page_size, 2], out float[T, Hq*D].
#pragma once

#include "../core/op_spec.h"
#include "attention_quantized.h"
#include "cache_append_quantized.h"
#include "coded_cache.h"
#include "key_round.h"

namespace fewbit::ops::decode_attention_quantized {

enum Tensor {
  q,
  k,
  v,
  positions,
  sequences,
  block_table,
  rope,
  query_grid,
  key_grid,
  value_grid,
  feedback,
  key_cache,
  value_cache,
  key_scales,
  value_scales,
  out
};
enum Attr { bits, scale, query_bits };

inline int64_t head_dim(const OpCall& call) { return call[k].cols() / call[key_cache].shape[1]; }

inline const OpSpec spec{
    "decode_attention_quantized",
    {{"q", Access::Read},
     {"k", Access::Read},
     {"v", Access::Read},
     {"positions", Access::Read},
     {"sequences", Access::Read},
     {"block_table", Access::Read},
     {"rope", Access::Read, true},
     {"query_grid", Access::Read, true},
     {"key_grid", Access::Read, true},
     {"value_grid", Access::Read, true},
     {"feedback", Access::Read, true},
     {"key_cache", Access::Update},
     {"value_cache", Access::Update},
     {"key_scales", Access::Update, true},
     {"value_scales", Access::Update, true},
     {"out", Access::Write}},
    {"bits", "scale", "query_bits"},
    [](const OpCall& call) {
      const Checker check(spec, call);
      coded_cache::check_cache(
          check, call, static_cast<int>(call.attrs[bits]),
          {q, k, v, rope, key_grid, value_grid, key_cache, value_cache, key_scales, value_scales});
      const int64_t rows = call[q].rows(), heads = call[key_cache].shape[1], dim = head_dim(call);
      for (int tensor : {positions, sequences}) {
        check.shape(tensor, {rows}).dtype(tensor, {DType::I32});
      }
      check.shape(block_table, {-1, -1})
          .dtype(block_table, {DType::I32})
          .shape(query_grid, {2, call[q].cols()})
          .dtype(query_grid, {DType::F32})
          .require(!call[query_grid] || call.attrs[query_bits] == 8 || call.attrs[query_bits] == 4,
                   "query_bits must be 8 or 4")
          .require(!call[feedback] || (call[key_grid] && dim <= key_round::kLargestHead),
                   "feedback needs grids, and heads of at most 256")
          .shape(feedback, {heads, dim, dim})
          .dtype(feedback, {DType::F16})
          .shape(out, {rows, call[q].cols()})
          .same_dtype(out, q);
      for (int tensor : {block_table, query_grid, feedback, out}) check.contiguous(tensor);
    }};

// The ops as calls of their own. rotated and rounded: copies of q and k that turn, and of which the
// first op rounds k where there is feedback; slots: where k and v go, -1 for padding; known: the
// positions of rows that are no padding.
inline OpCall round_call(const OpCall& call, const TensorView& rotated, const TensorView& rounded) {
  OpCall part;
  part.tensors[key_round::q] = rotated;
  part.tensors[key_round::k] = rounded;
  part.tensors[key_round::positions] = call[positions];
  part.tensors[key_round::rope] = call[rope];
  part.tensors[key_round::grid] = call[key_grid];
  part.tensors[key_round::feedback] = call[feedback];
  part.attrs[key_round::bits] = call.attrs[bits];
  return part;
}

inline OpCall append_call(const OpCall& call, const TensorView& rotated, const TensorView& rounded,
                          const TensorView& slots) {
  namespace append = cache_append_quantized;
  OpCall part;
  part.tensors[append::q] = rotated;
  part.tensors[append::k] = rounded;
  part.tensors[append::v] = call[v];
  part.tensors[append::positions] = call[positions];
  part.tensors[append::slots] = slots;
  if (!call[feedback]) part.tensors[append::rope] = call[rope];  // else they have turned already
  part.tensors[append::key_grid] = call[key_grid];
  part.tensors[append::value_grid] = call[value_grid];
  part.tensors[append::key_cache] = call[key_cache];
  part.tensors[append::value_cache] = call[value_cache];
  part.tensors[append::key_scales] = call[key_scales];
  part.tensors[append::value_scales] = call[value_scales];
  part.attrs[append::bits] = call.attrs[bits];
  return part;
}

inline OpCall attention_call(const OpCall& call, const TensorView& rotated,
                             const TensorView& known) {
  namespace attention = attention_quantized;
  OpCall part;
  part.tensors[attention::q] = rotated;
  part.tensors[attention::query_grid] = call[query_grid];
  part.tensors[attention::key_cache] = call[key_cache];
  part.tensors[attention::value_cache] = call[value_cache];
  part.tensors[attention::key_grid] = call[key_grid];
  part.tensors[attention::value_grid] = call[value_grid];
  part.tensors[attention::key_scales] = call[key_scales];
  part.tensors[attention::value_scales] = call[value_scales];
  part.tensors[attention::block_table] = call[block_table];
  part.tensors[attention::sequences] = call[sequences];
  part.tensors[attention::positions] = known;
  part.tensors[attention::out] = call[out];
  part.attrs[attention::bits] = call.attrs[bits];
  part.attrs[attention::head_dim] = static_cast<double>(head_dim(call));
  part.attrs[attention::scale] = call.attrs[scale];
  part.attrs[attention::query_bits] = call.attrs[query_bits];
  return part;
}

}  // namespace fewbit::ops::decode_attention_quantized
