#include "../ops/gptq_quantize.h"

#include <algorithm>

#include "checks.h"
#include "cpu_op.h"
#include "gptq_grid.h"
#include "kernels.h"

namespace fewbit::cpu {

namespace {

using namespace ops::gptq_quantize;

// Rows that go through a block of the factor together, which then stays in the cache.
constexpr int64_t kRows = 8;

struct Quantizer {
  const OpCall& call;
  const Kernels& kernel = kernels();
  const GptqGridSettings grid{static_cast<int>(call.attrs[bits]), call.attrs[sym] != 0,
                              static_cast<float>(call.attrs[mse])};
  const int kind = static_cast<int>(call.attrs[grouping]);
  const int64_t k = call[w].cols();
  const int64_t groups = call[scales].cols();
  const bool per_row = call.attrs[group_size] == 0;
  const int64_t size =
      per_row ? std::max<int64_t>(k, 1) : static_cast<int64_t>(call.attrs[group_size]);
  const int32_t* columns = call[order].as<int32_t>();
  const float* u = call[factor].as<float>();

  int64_t column(int64_t position) const { return columns ? columns[position] : position; }

  void make_grid(int64_t row, int64_t group, const float* values, int64_t count) const {
    const GptqGrid found = find_grid(values, count, grid);
    call[scales].as<float>()[row * groups + group] = found.scale;
    call[zeros].as<uint8_t>()[row * groups + group] = static_cast<uint8_t>(found.zero);
  }

  GptqGrid grid_at(int64_t row, int64_t group) const {
    return {call[scales].as<float>()[row * groups + group],
            static_cast<float>(call[zeros].as<uint8_t>()[row * groups + group])};
  }

  // Brings a row into the order of positions.
  void begin(int64_t row, float* values) const {
    float* weights = call[w].as<float>() + row * k;
    if (per_row) make_grid(row, 0, weights, k);
    for (int64_t i = 0; call[dead] && i < k; ++i) {
      if (call[dead].as<uint8_t>()[i]) weights[i] = 0;
    }
    for (int64_t g = 0; !per_row && kind == kStatic && g < groups; ++g) {
      make_grid(row, g, weights + g * size, std::min(size, k - g * size));
    }
    for (int64_t p = 0; p < k; ++p) values[p] = weights[column(p)];
    call[loss].as<float>()[row] = 0;
  }

  // Quantizes positions first .. last of a row and corrects those after them.
  void block(int64_t row, int64_t first, int64_t last, float* values) const {
    float inside[kBlock], errors[kBlock];
    std::copy(values + first, values + last, inside);
    double sum = 0;
    for (int64_t p = first; p < last; ++p) {
      const int64_t from = column(p);
      const bool by_column = kind != kByPosition;
      const int64_t group = (by_column ? from : p) / size;
      if (!per_row && kind != kStatic && p % size == 0) {
        make_grid(row, group, values + p, std::min(size, k - p));
      }
      const GptqGrid found = grid_at(row, group);
      const float weight = inside[p - first];
      const float code = found.code(weight, grid.most());
      const float value = found.value(code);
      call[codes].as<uint8_t>()[row * k + from] = static_cast<uint8_t>(code);
      call[w].as<float>()[row * k + from] = value;
      const float error = (weight - value) / (u ? u[p * k + p] : 1.0f);
      sum += 0.5 * static_cast<double>(error) * static_cast<double>(error);
      errors[p - first] = -error;
      if (u && p + 1 < last) {
        kernel.rank_update(errors + (p - first), 1, u + p * k + p + 1, k, last - p - 1,
                           inside + (p - first) + 1);
      }
    }
    call[loss].as<float>()[row] += static_cast<float>(sum);
    if (u && last < k) {
      kernel.rank_update(errors, last - first, u + first * k + last, k, k - last, values + last);
    }
  }

  void rows(int64_t begin_row, int64_t end_row) const {
    auto* values = static_cast<float*>(call.workspace);
    for (int64_t row = begin_row; row < end_row; ++row) begin(row, values + row * k);
    for (int64_t first = 0; first < k; first += kBlock) {
      for (int64_t row = begin_row; row < end_row; ++row) {
        block(row, first, std::min(first + kBlock, k), values + row * k);
      }
    }
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  const Quantizer quantizer{call};
  for (int64_t p = 0; quantizer.columns && p < quantizer.k; ++p) {
    require_range(spec, order, p, quantizer.columns[p], 0, quantizer.k);
  }
  pool.parallel_for(call[w].rows(), kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row += kRows) {
      quantizer.rows(row, std::min(row + kRows, end));
    }
  });
}

size_t workspace(const OpCall& call) { return call[w].elements() * sizeof(float); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
