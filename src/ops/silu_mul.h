// out = gate * sigmoid(gate) * up, computed in fp32. gate, up and out: see gated.h.
#pragma once

#include "gated.h"

namespace fewbit::ops::silu_mul {

using namespace gated;

inline const OpSpec spec{"silu_mul", tensors(), {}, [](const OpCall& call) { check(spec, call); }};

}  // namespace fewbit::ops::silu_mul
