// Keys rounded so that their errors make up for each other, see src/ops/key_round.h.
#pragma once

#include "../../src/core/abi.h"
#include "../common/context.h"

namespace fewbit::cuda::kv {

// A call of key_round.
void round_keys(const OpCall& call, Context& context);

}  // namespace fewbit::cuda::kv
