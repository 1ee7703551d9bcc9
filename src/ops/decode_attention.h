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

#include "paged_cache.h"

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
      const Checker check(spec, call);
      paged_cache::check_cache(check, call, q, key_cache, value_cache);
      paged_cache::check_new_rows(check, call, q, k, v, rope, key_cache);
      paged_cache::check_indices(check, call, q, {positions, slots, sequences});
      paged_cache::check_result(check, call, q, block_table, out);
    }};

}  // namespace fewbit::ops::decode_attention
