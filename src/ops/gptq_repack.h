// Turns the tensors of a GPTQ checkpoint (AutoGPTQ, GPTQModel) into what linear_gptq reads: codes
// as gptq_layout.h says, and a row of scales and zero points per output.
//   codes of output n at position p = code of qweight at input order[p], output n
//   out_scales[n, g] = scales[groups[g], n], zeros[n, g] = zero point of qzeros at groups[g], n
// On disk codes are a little-endian bit stream: along K in each column of qweight, along N in each
// row of qzeros. v1 = 1: qzeros holds zero - 1. It is added back to whole words, so that a borrow
// that spread when 1 was subtracted from words spreads back; for 3 bits to each field.
// order and groups, absent together, stand for 0, 1, 2, ...; order -1 is padding (code 0).
// qweight i32[K * bits / 32, N], qzeros i32[G, N * bits / 32], scales float[G, N], order i32[P],
// groups i32[H], codes u8[N, bytes], high u8[N, bytes] for 3 bits only, zeros u8[N, H],
// out_scales [N, H] of the dtype of scales. Without order P = K and H = G.
#pragma once

#include "../core/op_spec.h"
#include "gptq_layout.h"

namespace fewbit::ops::gptq_repack {

enum Tensor { qweight, qzeros, scales, order, groups, codes, high, zeros, out_scales };
enum Attr { bits, v1 };

inline const OpSpec spec{
    "gptq_repack",
    {{"qweight", Access::Read},
     {"qzeros", Access::Read},
     {"scales", Access::Read},
     {"order", Access::Read, true},
     {"groups", Access::Read, true},
     {"codes", Access::Write},
     {"high", Access::Write, true},
     {"zeros", Access::Write},
     {"out_scales", Access::Write}},
    {"bits", "v1"},
    [](const OpCall& call) {
      const int width = static_cast<int>(call.attrs[bits]);
      Checker(spec, call)
          .require(gptq::is_width(width), "bits must be 2, 3, 4 or 8")
          .shape(qweight, {-1, -1})
          .shape(scales, {-1, -1})
          .shape(order, {-1})
          .shape(groups, {-1})
          .require(!call[order] == !call[groups], "order and groups belong together");
      const int64_t n = call[qweight].cols(), g = call[scales].rows();
      Checker(spec, call)
          .require(call[qweight].rows() * 32 % width == 0, "qweight ends inside a code")
          .require(n * width % 32 == 0, "the zero points of a group must fill whole words");
      const int64_t k = call[qweight].rows() * 32 / width;
      const int64_t positions = call[order] ? call[order].elements() : k;
      const int64_t groups_out = call[groups] ? call[groups].elements() : g;
      Checker(spec, call)
          .dtype(qweight, {DType::I32})
          .shape(qzeros, {g, n * width / 32})
          .dtype(qzeros, {DType::I32})
          .shape(scales, {g, n})
          .dtype(scales, {DType::F32, DType::F16, DType::BF16})
          .dtype(order, {DType::I32})
          .dtype(groups, {DType::I32})
          .shape(codes, {n, gptq::plane_bytes(positions, gptq::low_width(width))})
          .dtype(codes, {DType::U8})
          .require(!call[high] == (width != 3), "high belongs to 3 bits alone")
          .shape(high, {n, gptq::plane_bytes(positions, 1)})
          .dtype(high, {DType::U8})
          .shape(zeros, {n, groups_out})
          .dtype(zeros, {DType::U8})
          .shape(out_scales, {n, groups_out})
          .same_dtype(out_scales, scales);
      for (size_t i = 0; i < spec.tensors.size(); ++i) {
        Checker(spec, call).contiguous(static_cast<int>(i));
      }
    }};

}  // namespace fewbit::ops::gptq_repack
