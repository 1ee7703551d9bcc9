// Portable dequantization of GPTQ codes.
#pragma once

#include "../gptq_span.h"

namespace fewbit::cpu::scalar {

void dequantize_gptq(const GptqSpan& span, float* out);

}  // namespace fewbit::cpu::scalar
