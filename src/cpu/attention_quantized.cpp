#include "../ops/attention_quantized.h"

#include <cmath>
#include <vector>

#include "../core/half.h"
#include "attention.h"
#include "attention_blocks.h"
#include "cpu_op.h"
#include "kv_codes.h"
#include "parallel.h"

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

// q on its grid, as a contiguous matrix.
std::vector<float> rounded_queries(const OpCall& call, ThreadPool& pool) {
  const int64_t rows = call[q].rows(), columns = call[q].cols();
  const float* scales = call[query_grid].as<float>();
  const float* zeros = scales + columns;
  const int width = static_cast<int>(call.attrs[query_bits]);
  std::vector<float> values(rows * columns);
  pool.parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = call[q].as<float>() + row * call[q].row_stride();
      float* y = values.data() + row * columns;
      for (int64_t i = 0; i < columns; ++i) {
        y[i] = scales[i] * (static_code(x[i], scales[i], zeros[i], width) - zeros[i]);
      }
    }
  });
  return values;
}

}  // namespace

void attend_codes(const OpCall& given, ThreadPool& pool) {
  require_f32(spec, given, {q});
  OpCall call = given;
  std::vector<float> queries;
  if (call[query_grid]) {
    queries = rounded_queries(given, pool);
    call.tensors[q].data = queries.data();
    call.tensors[q].stride[0] = call[q].cols();
  }
  const AttentionOperands operands{
      spec, call, q, block_table, sequences, positions, out, static_cast<float>(call.attrs[scale])};
  const CodedCache cache{call};
  Attention<CodedCache>(operands, cache).run(pool);
}

namespace {
const CpuOp op(spec, attend_codes);
}  // namespace

}  // namespace fewbit::cpu
