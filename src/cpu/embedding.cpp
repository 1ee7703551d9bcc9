#include "../ops/embedding.h"

#include <algorithm>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::embedding;

// to (+)= what a row of codes stands for.
void decode_row(const OpCall& call, int64_t row, bool add_to, float* to) {
  const int8_t* codes = call[table].as<int8_t>() + row * call[table].cols();
  const float step = call[scales].as<float>()[row] / 127.0f;
  for (int64_t i = 0; i < call[out].cols(); ++i) {
    const float value = static_cast<float>(codes[i]) * step;
    to[i] = add_to ? to[i] + value : value;
  }
}

// to (+)= cols widened values at from, a piece at a time.
void read_row(const Kernels& kernel, const TensorView& table_view, int64_t row, bool add_to,
              float* to) {
  const int64_t cols = table_view.cols();
  const size_t size = size_of(table_view.dtype);
  const auto widen = kernel.widen[static_cast<int>(table_view.dtype)];
  const char* from = table_view.as<char>() + row * cols * size;
  if (!add_to) {
    widen(from, cols, to);
    return;
  }
  float values[1024];
  for (int64_t i = 0; i < cols; i += std::size(values)) {
    const int64_t count = std::min<int64_t>(std::size(values), cols - i);
    widen(from + i * size, count, values);
    kernel.add(to + i, values, count, to + i);
  }
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {out});
  const Kernels& kernel = kernels();
  const int64_t cols = call[out].cols();
  if (cols == 0) return;
  const int64_t shift = static_cast<int64_t>(call.attrs[offset]);
  const bool add_to = call.attrs[accumulate] != 0;
  pool.parallel_for(call[ids].elements(), row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t id = call[ids].as<int32_t>()[t], row = id + shift;
      float* to = call[out].as<float>() + t * cols;
      if (id >= 0 && row >= 0 && row < vocabulary(call)) {
        call[scales] ? decode_row(call, row, add_to, to)
                     : read_row(kernel, call[table], row, add_to, to);
      } else if (!add_to) {
        std::fill(to, to + cols, 0.0f);
      }
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
