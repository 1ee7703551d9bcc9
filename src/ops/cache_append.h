// Rotates q in place and k on its way into the paged cache (when a rope table is given), and
// appends k and v.
//   rope[p, 0 .. D/2) = cos, rope[p, D/2 .. D) = sin of position p
//   element i rotates with element i + D/2 (Hugging Face's rotate_half convention), in fp32
//   slot = page * page_size + offset; a negative slot marks a padding row, which writes nothing
// q float[T, Hq*D], k and v float[T, Hkv*D] (rows may be spaced apart), positions and slots i32[T],
// rope f32[P, D], caches float[pages, Hkv, page_size, D] of the dtype of k.
// Hq, Hkv and D follow from the shapes.
#pragma once

#include "paged_cache.h"

namespace fewbit::ops::cache_append {

enum Tensor { q, k, v, positions, slots, rope, key_cache, value_cache };

inline const OpSpec spec{"cache_append",
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
                           const Checker check(spec, call);
                           paged_cache::check_cache(check, call, q, key_cache, value_cache);
                           paged_cache::check_new_rows(check, call, q, k, v, rope, key_cache);
                           paged_cache::check_indices(check, call, q, {positions, slots});
                         }};

}  // namespace fewbit::ops::cache_append
