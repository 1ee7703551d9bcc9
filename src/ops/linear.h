// out = activation(x weight^T + bias), accumulated in fp32. activation: 0 none, 1 relu.
// x float[M, K], weight float[N, K], bias float[N], out[M, N] of the dtype of x, or f32.
// On CUDA the weight has the dtype of x; on the CPU x is f32 and the weight any float dtype.
// In a program, weight is complete before the program runs: none of its ops writes it.
// vendor_library = 1 asks the back end to use the vendor's matrix product and no kernel of its own:
// the baseline of benchmarks. A back end without one ignores it.
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::linear {

enum Tensor { x, weight, bias, out };
enum Attr { activation, vendor_library };

inline const OpSpec spec{
    "linear",
    {{"x", Access::Read},
     {"weight", Access::Read},
     {"bias", Access::Read, true},
     {"out", Access::Write}},
    {"activation", "vendor_library"},
    [](const OpCall& call) {
      const int64_t m = call[x].rows(), k = call[x].cols(), n = call[weight].shape[0];
      Checker(spec, call)
          .shape(x, {-1, -1})
          .dtype(x, {DType::F32, DType::F16, DType::BF16})
          .shape(weight, {-1, k})
          .dtype(weight, {DType::F32, DType::F16, DType::BF16})
          .shape(bias, {n})
          .shape(out, {m, n})
          .require(call[out].dtype == call[x].dtype || call[out].dtype == DType::F32,
                   "out must be f32 or have the dtype of x")
          .contiguous(x)
          .contiguous(weight)
          .contiguous(bias)
          .contiguous(out);
    }};

}  // namespace fewbit::ops::linear
