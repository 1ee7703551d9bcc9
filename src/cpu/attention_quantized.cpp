#include "../ops/attention_quantized.h"

#include "../core/half.h"
#include "attention_blocks.h"
#include "cpu_op.h"
#include "kv_codes.h"

namespace fewbit::cpu {

namespace {

using namespace ops::attention_quantized;

// Codes that are turned into values where they are read.
struct CodedCache {
  const OpCall& call;
  int width = static_cast<int>(call.attrs[bits]);
  int64_t pages = call[key_cache].shape[0], kv_heads = call[key_cache].shape[1],
          page_size = call[key_cache].shape[2], dim = static_cast<int64_t>(call.attrs[head_dim]);

  const float* keys(int64_t place, int64_t count, float* scratch) const {
    return rows(call[key_cache], call[key_grid], call[key_scales], place, count, scratch);
  }
  const float* values(int64_t place, int64_t count, float* scratch) const {
    return rows(call[value_cache], call[value_grid], call[value_scales], place, count, scratch);
  }

 private:
  const float* rows(const TensorView& cache, const TensorView& grid, const TensorView& scales,
                    int64_t place, int64_t count, float* scratch) const {
    std::vector<uint8_t> codes(dim);
    const int64_t head = place / page_size % kv_heads;
    for (int64_t i = 0; i < count; ++i) {
      unpack_codes(cache.as<uint8_t>() + (place + i) * cache.shape[3], dim, width, codes.data());
      float* row = scratch + i * dim;
      if (grid) {
        const float* scale = grid.as<float>() + head * dim;
        const float* zero = scale + kv_heads * dim;
        for (int64_t d = 0; d < dim; ++d) {
          row[d] = scale[d] * (static_cast<float>(codes[d]) - zero[d]);
        }
      } else {
        const uint16_t* pair = scales.as<uint16_t>() + 2 * (place + i);
        const float scale = f16_to_f32(pair[0]), smallest = f16_to_f32(pair[1]);
        for (int64_t d = 0; d < dim; ++d) row[d] = scale * static_cast<float>(codes[d]) + smallest;
      }
    }
    return scratch;
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const AttentionOperands operands{
      spec, call, q, block_table, sequences, positions, out, static_cast<float>(call.attrs[scale])};
  const CodedCache cache{call};
  Attention<CodedCache>(operands, cache).run(pool);
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
