// Reproducible random values, for benchmarks that have a config but no checkpoint. Element i uses
// h = the first word of philox4x32_10(counter = {i lo, i hi, 0, 0}, key = {seed, 0}):
//   float dtypes: scale * sqrt(3) * (2 * (h + 0.5) / 2^32 - 1), uniform, standard deviation = scale
//   i8:           h % 255 - 127
// out: float or i8, contiguous.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::fill_random {

enum Tensor { out };
enum Attr { seed, scale };

inline const OpSpec spec{
    "fill_random", {{"out", Access::Write}}, {"seed", "scale"}, [](const OpCall& call) {
      Checker(spec, call)
          .dtype(out, {DType::F32, DType::F16, DType::BF16, DType::I8})
          .contiguous(out);
    }};

}  // namespace fewbit::ops::fill_random
