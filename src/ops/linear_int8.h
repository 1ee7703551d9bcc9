// The matrix product of LLM.int8() (arXiv 2208.07339, section 3), on what int8_quantize left:
//   acc[m, n] = sum_k codes[m, k] * weight[n, k]                                    (exact, int32)
//   y[m, n]   = acc * scales[m] * weight_scales[n] / 127^2 + bias[n]
//             + sum_{o in columns[0 .. count)} x[m, o] * w16[n, o]                  (fp32)
//   w16[n, o] = kept[kept_slots[o], n] where kept_slots[o] >= 0,
//               else weight[n, o] * weight_scales[n] / 127
// Mode 0 (paper) rounds once, at the end; on CUDA, with hundreds of rows and more than 16 outliers, also
// before the outlier part. Mode 1 (bitsandbytes) ignores kept, rounds w16 and the
// int8 part with its bias to the 16-bit dtype (fp16 when out is f32), then adds the outlier part
// and rounds again. activation: 0 none, 1 relu.
// M is out's; without columns there is no outlier part and x is not needed. kept_slots without kept
// is ignored.
// codes i8[>=M, Kp], scales f32[>=M], columns i32[K], count i32[1], x float[M, K],
// weight i8[Np, Kp] with zero rows from N to Np, weight_scales f32[N], bias float[N],
// kept_slots i32[K], kept float[S, N], out[M, N] of the dtype of x, or f32.
// Kp and Np are multiples of 16.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::linear_int8 {

enum Tensor {
  codes,
  scales,
  columns,
  count,
  x,
  weight,
  weight_scales,
  bias,
  kept_slots,
  kept,
  out
};
enum Attr { mode, activation };

inline const OpSpec spec{
    "linear_int8",
    {{"codes", Access::Read},
     {"scales", Access::Read},
     {"columns", Access::Read, true},
     {"count", Access::Read, true},
     {"x", Access::Read, true},
     {"weight", Access::Read},
     {"weight_scales", Access::Read},
     {"bias", Access::Read, true},
     {"kept_slots", Access::Read, true},
     {"kept", Access::Read, true},
     {"out", Access::Write}},
    {"mode", "activation"},
    [](const OpCall& call) {
      const int64_t m = call[out].rows(), n = call[out].cols();
      const int64_t kp = call[weight].shape[1];
      Checker(spec, call)
          .shape(out, {-1, -1})
          .dtype(out, {DType::F32, DType::F16, DType::BF16})
          .shape(codes, {-1, kp})
          .dtype(codes, {DType::I8})
          .dtype(scales, {DType::F32})
          .require(call[codes].shape[0] >= m && call[scales].shape[0] >= m,
                   "codes and scales must have at least the rows of out")
          .shape(weight, {-1, -1})
          .dtype(weight, {DType::I8})
          .require(call[weight].shape[0] >= n, "weight must have at least the columns of out")
          .require(kp % 16 == 0 && call[weight].shape[0] % 16 == 0,
                   "weight must be padded to multiples of 16")
          .shape(weight_scales, {n})
          .dtype(weight_scales, {DType::F32})
          .shape(bias, {n})
          .dtype(columns, {DType::I32})
          .dtype(count, {DType::I32})
          .require(!call[columns] || (call[count] && call[x]), "columns need count and x")
          .shape(kept, {-1, n})
          .require(!call[kept] || call[kept_slots], "kept needs kept_slots")
          .dtype(kept_slots, {DType::I32})
          .contiguous(codes)
          .contiguous(weight)
          .contiguous(x)
          .contiguous(kept)
          .contiguous(out);
      if (call[x]) {
        Checker(spec, call)
            .shape(x, {m, -1})
            .shape(columns, {call[x].cols()})
            .shape(kept_slots, {call[x].cols()});
      }
    }};

}  // namespace fewbit::ops::linear_int8
