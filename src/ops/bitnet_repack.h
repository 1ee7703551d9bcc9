// Turns ternary weights as Hugging Face packs them into what linear_bitnet reads. A packed byte
// holds the codes of one input column for four outputs, a quarter of all outputs apart:
//   code[i * N / 4 + r, k] = (packed[r, k] >> 2 * i) & 3,   i = 0 .. 3
// invalid[0] += codes of 3, which stand for no weight; they are stored as the code of zero, and
// the caller is to refuse the weight.
// packed u8[N / 4, K], weight u8[N, Kp / 4] as bitnet_layout.h says, invalid i32[1].
#pragma once

#include "../core/op_spec.h"
#include "bitnet_layout.h"

namespace fewbit::ops::bitnet_repack {

enum Tensor { packed, weight, invalid };

inline const OpSpec spec{
    "bitnet_repack",
    {{"packed", Access::Read}, {"weight", Access::Write}, {"invalid", Access::Update}},
    {},
    [](const OpCall& call) {
      Checker(spec, call)
          .shape(packed, {-1, -1})
          .dtype(packed, {DType::U8})
          .shape(weight, {4 * call[packed].rows(), bitnet::row_bytes(call[packed].cols())})
          .dtype(weight, {DType::U8})
          .shape(invalid, {1})
          .dtype(invalid, {DType::I32})
          .contiguous(packed)
          .contiguous(weight);
    }};

}  // namespace fewbit::ops::bitnet_repack
