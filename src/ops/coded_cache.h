// What ops that write a paged cache of few bits check alike.
#pragma once

#include "../core/op_spec.h"
#include "kv_codes.h"

namespace fewbit::ops::coded_cache {

// Where an op has these tensors.
struct Places {
  int q, k, v, rope, key_grid, value_grid, key_cache, value_cache, key_scales, value_scales;
};

// q float[T, Hq*D], k and v float[T, Hkv*D] of its dtype (rows may be spaced apart), rope f32[P, D],
// caches u8[pages, Hkv, page_size, row bytes] with codes of `width` bits, and either grids
// f32[2, Hkv*D] or scales f16[pages, Hkv, page_size, 2]. D is even, Hq a multiple of Hkv.
inline void check_cache(const Checker& check, const OpCall& call, int width, const Places& at) {
  const TensorView& cache = call[at.key_cache];
  check.require(kv::is_width(width), "bits must be 3, 4 or 8")
      .shape(at.q, {-1, -1})
      .dtype(at.q, {DType::F32, DType::F16, DType::BF16})
      .shape(at.k, {call[at.q].rows(), -1})
      .shape(at.key_cache, {-1, -1, -1, -1})
      .require(cache.shape[1] > 0 && cache.shape[2] > 0, "the cache must not be empty");
  const int64_t pages = cache.shape[0], heads = cache.shape[1], page_size = cache.shape[2];
  const int64_t keys = call[at.k].cols(), dim = keys / heads;
  check
      .require(dim > 0 && keys % heads == 0 && dim % 2 == 0,
               "k must hold the cache's heads, of an even dimension")
      .require(call[at.q].cols() % keys == 0, "q must hold a multiple of the cache's heads")
      .shape(at.v, {call[at.q].rows(), keys})
      .same_dtype(at.k, at.q)
      .same_dtype(at.v, at.q)
      .shape(at.rope, {-1, dim})
      .dtype(at.rope, {DType::F32})
      .require(!call[at.key_grid] == !call[at.value_grid] &&
                   !call[at.key_scales] == !call[at.value_scales],
               "keys and values are quantized alike")
      .require(!call[at.key_grid] != !call[at.key_scales], "either grids or scales must be given");
  for (int tensor : {at.key_cache, at.value_cache}) {
    check.shape(tensor, {pages, heads, page_size, kv::row_bytes(dim, width)})
        .dtype(tensor, {DType::U8})
        .contiguous(tensor);
  }
  for (int tensor : {at.key_grid, at.value_grid}) {
    check.shape(tensor, {2, keys}).dtype(tensor, {DType::F32}).contiguous(tensor);
  }
  for (int tensor : {at.key_scales, at.value_scales}) {
    check.shape(tensor, {pages, heads, page_size, 2})
        .dtype(tensor, {DType::F16})
        .contiguous(tensor);
  }
}

}  // namespace fewbit::ops::coded_cache
