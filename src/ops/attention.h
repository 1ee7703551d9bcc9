// Causal attention over the paged cache. Row t attends to keys 0 .. positions[t] of its sequence:
//   out[t, h] = softmax_j(scale * q[t, h] . K[j, h / group]) V[j, h / group]
//   with group = Hq / Hkv, softmax and sums in fp32
// Key j of sequence s lies in page block_table[s, j / page_size] at offset j % page_size.
// A negative position marks a padding row: it yields zeros.
// q float[T, Hq*D] (rows may be spaced apart), caches float[pages, Hkv, page_size, D],
// block_table i32[S, P], sequences and positions i32[T], out float[T, Hq*D].
#pragma once

#include "paged_cache.h"

namespace fewbit::ops::attention {

enum Tensor { q, key_cache, value_cache, block_table, sequences, positions, out };
enum Attr { scale };

inline const OpSpec spec{"attention",
                         {{"q", Access::Read},
                          {"key_cache", Access::Read},
                          {"value_cache", Access::Read},
                          {"block_table", Access::Read},
                          {"sequences", Access::Read},
                          {"positions", Access::Read},
                          {"out", Access::Write}},
                         {"scale"},
                         [](const OpCall& call) {
                           const Checker check(spec, call);
                           paged_cache::check_cache(check, call, q, key_cache, value_cache);
                           paged_cache::check_indices(check, call, q, {sequences, positions});
                           paged_cache::check_result(check, call, q, block_table, out);
                         }};

}  // namespace fewbit::ops::attention
