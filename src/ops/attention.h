// Causal attention over the paged cache. Row t attends to keys 0 .. positions[t] of its sequence:
//   out[t, h] = softmax_j(scale * q[t, h] . K[j, h / group]) V[j, h / group]
//   with group = Hq / Hkv, softmax and sums in fp32
// Key j of sequence s lies in page block_table[s, j / page_size] at offset j % page_size.
// A negative position marks a padding row: it yields zeros.
// q float[T, Hq*D] (rows may be spaced apart), caches float[pages, Hkv, page_size, D],
// block_table i32[S, P], sequences and positions i32[T], out float[T, Hq*D].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::attention {

enum Tensor { q, key_cache, value_cache, block_table, sequences, positions, out };
enum Attr { scale };

inline const OpSpec spec{
    "attention",
    {{"q", Access::Read},
     {"key_cache", Access::Read},
     {"value_cache", Access::Read},
     {"block_table", Access::Read},
     {"sequences", Access::Read},
     {"positions", Access::Read},
     {"out", Access::Write}},
    {"scale"},
    [](const OpCall& call) {
      const TensorView& cache = call[key_cache];
      const int64_t rows = call[q].rows(), heads = cache.shape[1], dim = cache.shape[3];
      Checker(spec, call)
          .shape(q, {-1, -1})
          .dtype(q, {DType::F32, DType::F16, DType::BF16})
          .shape(key_cache, {-1, -1, -1, -1})
          .shape(value_cache, {cache.shape[0], heads, cache.shape[2], dim})
          .require(heads > 0 && cache.shape[2] > 0 && dim > 0, "the cache must not be empty")
          .require(call[q].cols() % dim == 0 && call[q].cols() / dim % heads == 0,
                   "q must hold a multiple of the cache's heads")
          .same_dtype(key_cache, q)
          .same_dtype(value_cache, q)
          .same_dtype(out, q)
          .shape(block_table, {-1, -1})
          .dtype(block_table, {DType::I32})
          .shape(sequences, {rows})
          .dtype(sequences, {DType::I32})
          .shape(positions, {rows})
          .dtype(positions, {DType::I32})
          .shape(out, {rows, call[q].cols()})
          .contiguous(key_cache)
          .contiguous(value_cache)
          .contiguous(block_table)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::attention
