// The ops that decode_attention and decode_attention_quantized are made of.
#pragma once

#include "../core/op_spec.h"
#include "../core/thread_pool.h"

namespace fewbit::cpu {

// A call of cache_append, see src/ops/cache_append.h.
void append_to_cache(const OpCall& call, ThreadPool& pool);

// A call of attention, see src/ops/attention.h.
void attend(const OpCall& call, ThreadPool& pool);

// A call of key_round, see src/ops/key_round.h.
void round_keys(const OpCall& call, ThreadPool& pool);

// A call of cache_append_quantized, see src/ops/cache_append_quantized.h.
void append_codes(const OpCall& call, ThreadPool& pool);

// A call of attention_quantized, see src/ops/attention_quantized.h.
void attend_codes(const OpCall& call, ThreadPool& pool);

}  // namespace fewbit::cpu
