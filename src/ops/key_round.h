// Rotates q and k in place (when a rope table is given), then replaces every key by one that its
// static grid holds (kv_codes.h), so that cache_append_quantized stores just that.
//
// Rounding each channel to its nearest code makes errors that add up in the scores q . k. Instead
// the channels of a head are rounded in groups of half of those that are left (D/2, D/4, .., 1, 1),
// and each group makes up for the errors of the groups before it, as GPTQ (arXiv 2210.17323) does
// for weights: where feedback[h, j, i] says what an error of channel j adds to channel i,
//   e[j] = rounded[j] - k[j],  rounded[i] = grid_i(k[i] + sum_j feedback[h, j, i] e[j])
// over all j of earlier groups, in their order; sums in fp32. Other elements of feedback mean nothing.
// Rows of negative position pad: they stay as they are.
// q float[T, Hq*D], k float[T, Hkv*D] (rows may be spaced apart), positions i32[T],
// rope f32[P, D], grid f32[2, Hkv*D], feedback float[Hkv, D, D].
#pragma once

#include "../core/op_spec.h"
#include "kv_codes.h"

namespace fewbit::ops::key_round {

enum Tensor { q, k, positions, rope, grid, feedback };
enum Attr { bits };

// Channels of the next group when so many are left.
constexpr int64_t group_size(int64_t left) { return (left + 1) / 2; }

constexpr int64_t kLargestHead = 256;

inline const OpSpec spec{
    "key_round",
    {{"q", Access::Update},
     {"k", Access::Update},
     {"positions", Access::Read},
     {"rope", Access::Read, true},
     {"grid", Access::Read},
     {"feedback", Access::Read}},
    {"bits"},
    [](const OpCall& call) {
      Checker(spec, call)
          .require(kv::is_width(static_cast<int>(call.attrs[bits])), "bits must be 3, 4 or 8")
          .shape(q, {-1, -1})
          .dtype(q, {DType::F32, DType::F16, DType::BF16})
          .same_dtype(k, q)
          .shape(feedback, {-1, -1, -1})
          .dtype(feedback, {DType::F16});
      const int64_t rows = call[q].rows(), heads = call[feedback].shape[0];
      const int64_t dim = call[feedback].shape[1], keys = heads * dim;
      Checker(spec, call)
          .require(heads > 0 && dim > 0 && dim % 2 == 0 && dim <= kLargestHead,
                   "feedback must be for heads of an even dimension, at most 256")
          .shape(feedback, {heads, dim, dim})
          .shape(k, {rows, keys})
          .require(call[q].cols() % keys == 0, "q must hold a multiple of the heads of k")
          .shape(positions, {rows})
          .dtype(positions, {DType::I32})
          .shape(rope, {-1, dim})
          .dtype(rope, {DType::F32})
          .shape(grid, {2, keys})
          .dtype(grid, {DType::F32})
          .contiguous(grid)
          .contiguous(feedback);
    }};

}  // namespace fewbit::ops::key_round
