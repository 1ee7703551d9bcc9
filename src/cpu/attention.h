// The ops that decode_attention is made of.
#pragma once

#include "../core/op_spec.h"
#include "../core/thread_pool.h"

namespace fewbit::cpu {

// A call of cache_append, see src/ops/cache_append.h.
void append_to_cache(const OpCall& call, ThreadPool& pool);

// A call of attention, see src/ops/attention.h.
void attend(const OpCall& call, ThreadPool& pool);

}  // namespace fewbit::cpu
