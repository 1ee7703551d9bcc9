// What ops on a paged cache of floats check alike.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::paged_cache {

// q float[T, Hq*D] and caches float[pages, Hkv, page_size, D] of its dtype, Hq a multiple of Hkv.
inline void check_cache(const Checker& check, const OpCall& call, int q, int key_cache,
                        int value_cache) {
  const TensorView& cache = call[key_cache];
  const int64_t heads = cache.shape[1], dim = cache.shape[3];
  check.shape(q, {-1, -1})
      .dtype(q, {DType::F32, DType::F16, DType::BF16})
      .shape(key_cache, {-1, -1, -1, -1})
      .shape(value_cache, {cache.shape[0], heads, cache.shape[2], dim})
      .require(heads > 0 && cache.shape[2] > 0 && dim > 0, "the cache must not be empty")
      .require(call[q].cols() % dim == 0 && call[q].cols() / dim % heads == 0,
               "q must hold a multiple of the cache's heads")
      .same_dtype(key_cache, q)
      .same_dtype(value_cache, q)
      .contiguous(key_cache)
      .contiguous(value_cache);
}

// k and v float[T, Hkv*D] of the dtype of q, rope f32[P, D] with D even.
inline void check_new_rows(const Checker& check, const OpCall& call, int q, int k, int v, int rope,
                           int key_cache) {
  const int64_t rows = call[q].rows(), heads = call[key_cache].shape[1];
  const int64_t dim = call[key_cache].shape[3];
  check.shape(k, {rows, heads * dim})
      .shape(v, {rows, heads * dim})
      .require(dim % 2 == 0, "the head dimension must be even")
      .same_dtype(k, q)
      .same_dtype(v, q)
      .shape(rope, {-1, dim})
      .dtype(rope, {DType::F32});
}

// i32[T], an entry for every row of q.
inline void check_indices(const Checker& check, const OpCall& call, int q,
                          std::initializer_list<int> tensors) {
  for (int tensor : tensors) check.shape(tensor, {call[q].rows()}).dtype(tensor, {DType::I32});
}

// block_table i32[S, P], and out with the shape and dtype of q.
inline void check_result(const Checker& check, const OpCall& call, int q, int block_table,
                         int out) {
  check.shape(block_table, {-1, -1})
      .dtype(block_table, {DType::I32})
      .shape(out, {call[q].rows(), call[q].cols()})
      .same_dtype(out, q)
      .contiguous(block_table)
      .contiguous(out);
}

}  // namespace fewbit::ops::paged_cache
