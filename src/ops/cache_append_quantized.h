// cache_append for a cache of few bits: rotates q in place and k on its way (when a rope table is
// given), quantizes k and v and writes their codes; kv_codes.h says how.
// With grids the codes are static by channel, else dynamic by token and head; then scales are
// written, too. A negative slot marks a padding row, which writes nothing. A NaN gets the code 0.
// q float[T, Hq*D], k and v float[T, Hkv*D] (rows may be spaced apart), positions and slots i32[T],
// rope f32[P, D], grids f32[2, Hkv*D], caches u8[pages, Hkv, page_size, row bytes],
// scales f16[pages, Hkv, page_size, 2].
#pragma once

#include "../core/op_spec.h"
#include "coded_cache.h"

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

inline const OpSpec spec{"cache_append_quantized",
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
                           const Checker check(spec, call);
                           coded_cache::check_cache(check, call, static_cast<int>(call.attrs[bits]),
                                                    {q, k, v, rope, key_grid, value_grid, key_cache,
                                                     value_cache, key_scales, value_scales});
                           for (int tensor : {positions, slots}) {
                             check.shape(tensor, {call[q].rows()}).dtype(tensor, {DType::I32});
                           }
                         }};

}  // namespace fewbit::ops::cache_append_quantized
