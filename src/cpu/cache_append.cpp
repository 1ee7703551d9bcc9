#include "../ops/cache_append.h"

#include <cstring>

#include "attention.h"
#include "checks.h"
#include "cpu_op.h"
#include "parallel.h"
#include "rotate.h"

namespace fewbit::cpu {

namespace {

using namespace ops::cache_append;

void append_row(const OpCall& call, int64_t row) {
  const TensorView& cache = call[key_cache];
  const int64_t slot = call[slots].as<int32_t>()[row];
  if (slot < 0) return;
  const int64_t heads = cache.shape[1], page_size = cache.shape[2], dim = cache.shape[3];
  const float* table = call[rope] ? call[rope].as<float>() +
                                        call[positions].as<int32_t>()[row] * call[rope].row_stride()
                                  : nullptr;
  const int64_t page = slot / page_size, offset = slot % page_size;
  for (int64_t head = 0; head < heads; ++head) {
    const float* key = call[k].as<float>() + row * call[k].row_stride() + head * dim;
    const float* value = call[v].as<float>() + row * call[v].row_stride() + head * dim;
    const int64_t place = ((page * heads + head) * page_size + offset) * dim;
    float* key_to = call[key_cache].as<float>() + place;
    if (table) {
      rotate(key, table, dim, key_to);
    } else {
      std::memcpy(key_to, key, dim * sizeof(float));
    }
    std::memcpy(call[value_cache].as<float>() + place, value, dim * sizeof(float));
  }
  if (!table) return;
  float* query = call[q].as<float>() + row * call[q].row_stride();
  for (int64_t i = 0; i < call[q].cols(); i += dim) rotate(query + i, table, dim, query + i);
}

}  // namespace

void append_to_cache(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const TensorView& cache = call[key_cache];
  const int64_t count = call[slots].elements(), dim = cache.shape[3];
  for (int64_t row = 0; row < count; ++row) {
    const int64_t slot = call[slots].as<int32_t>()[row];
    if (slot < 0) continue;
    require_range(spec, slots, row, slot, 0, cache.shape[0] * cache.shape[2]);
    if (!call[rope]) continue;
    require_range(spec, positions, row, call[positions].as<int32_t>()[row], 0, call[rope].shape[0]);
  }
  const int64_t values = call[q].cols() + 2 * cache.shape[1] * dim;
  pool.parallel_for(count, row_grain(values), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) append_row(call, row);
  });
}

namespace {
const CpuOp op(spec, append_to_cache);
}  // namespace

}  // namespace fewbit::cpu
