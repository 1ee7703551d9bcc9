#include "attention.h"

#include "../ops/attention.h"

#include "attention_blocks.h"
#include "cpu_op.h"

namespace fewbit::cpu {

namespace {

using namespace ops::attention;

// Keys and values as they are.
struct FloatCache {
  const TensorView& key_rows;
  const TensorView& value_rows;
  int64_t pages = key_rows.shape[0], kv_heads = key_rows.shape[1], page_size = key_rows.shape[2],
          dim = key_rows.shape[3];

  const float* keys(int64_t place, int64_t, float*) const {
    return key_rows.as<float>() + place * dim;
  }
  const float* values(int64_t place, int64_t, float*) const {
    return value_rows.as<float>() + place * dim;
  }
};

}  // namespace

void attend(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const AttentionOperands operands{
      spec, call, q, block_table, sequences, positions, out, static_cast<float>(call.attrs[scale])};
  const FloatCache cache{call[key_cache], call[value_cache]};
  Attention<FloatCache>(operands, cache).run(pool);
}

namespace {
const CpuOp op(spec, attend);
}  // namespace

}  // namespace fewbit::cpu
