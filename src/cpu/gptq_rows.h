// Rows of a GPTQ weight as f32.
#pragma once

#include "../ops/linear_gptq.h"
#include "gptq_span.h"

namespace fewbit::cpu {

// Reads rows of the weight of one linear_gptq call, a block of positions at a time.
class GptqRows {
 public:
  // scales: those of the call, widened to f32.
  GptqRows(const OpCall& call, const float* scales);

  // Whether groups begin where words do, so that spans can be used as they are.
  bool aligned() const;

  // `count` positions of an output row from position `begin`, a multiple of 32.
  GptqSpan span(int64_t row, int64_t begin, int64_t count) const;

  // out[j] = weight of output row at position begin + j, for j < count. begin is a multiple of
  // 32, and out has room for count rounded up to such a multiple.
  void dequantize(int64_t row, int64_t begin, int64_t count, float* out) const;

 private:
  const OpCall& call_;
  void (*dequantize_)(const GptqSpan& span, float* out);
  const float* scales_;
  int bits_;
  int64_t group_size_;
};

}  // namespace fewbit::cpu
