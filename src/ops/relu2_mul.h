// out = max(gate, 0)^2 * up, computed in fp32: the gated unit of BitNet b1.58 2B4T (arXiv
// 2504.12285). A NaN stays. The result leaves the range of f16 soon (a gate of 256 is enough) and is
// then infinite there. gate, up and out: see gated.h.
#pragma once

#include "gated.h"

namespace fewbit::ops::relu2_mul {

using namespace gated;

inline const OpSpec spec{"relu2_mul", tensors(), {}, [](const OpCall& call) { check(spec, call); }};

}  // namespace fewbit::ops::relu2_mul
