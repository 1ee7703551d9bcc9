#include "../ops/gptq_factor.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "cpu_op.h"
#include "inverse_factor.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::gptq_factor;

struct Factor {
  const OpCall& call;
  const int64_t k = call[h].cols();
  double* const matrix = static_cast<double*>(call.workspace);
  double* const inverse = matrix + k * k;

  double diagonal(int64_t column) const {
    const float value = call[h].as<float>()[column * k + column];
    return value == 0 ? 1.0 : value;
  }

  void mark_dead() const {
    for (int64_t i = 0; i < k; ++i) {
      call[dead].as<uint8_t>()[i] = call[h].as<float>()[i * k + i] == 0;
    }
  }

  // A NaN sorts as zero: comparisons must stay consistent.
  std::vector<double> weights() const {
    std::vector<double> values(k);
    for (int64_t i = 0; i < k; ++i) {
      const double value = call[h].as<float>()[i * k + i];
      values[i] = value > 0 ? value : 0;
    }
    return values;
  }

  void sort_columns() const {
    auto* columns = call[order].as<int32_t>();
    std::iota(columns, columns + k, 0);
    const auto kind = static_cast<int>(call.attrs[ordering]);
    if (kind == kAsIs) return;
    const std::vector<double> weight = weights();
    const auto falling = [&](int32_t a, int32_t b) { return weight[a] > weight[b]; };
    if (kind == kByDiagonal) {
      std::stable_sort(columns, columns + k, falling);
      return;
    }
    const auto size = static_cast<int64_t>(call.attrs[group_size]);
    std::vector<int32_t> heads;  // the heaviest column of each whole group
    for (int64_t begin = 0; begin < k; begin += size) {
      std::stable_sort(columns + begin, columns + std::min(begin + size, k), falling);
      if (begin + size <= k) heads.push_back(columns[begin]);
    }
    std::stable_sort(heads.begin(), heads.end(), falling);
    const std::vector<int32_t> sorted(columns, columns + k);
    for (size_t i = 0; i < heads.size(); ++i) {
      const int64_t group = heads[i] / size;
      std::copy_n(sorted.begin() + group * size, size, columns + static_cast<int64_t>(i) * size);
    }
  }

  void load(double fraction) const {
    const auto* columns = call[order].as<int32_t>();
    double mean = 0;
    for (int64_t i = 0; i < k; ++i) mean += diagonal(i) / static_cast<double>(k);
    for (int64_t p = 0; p < k; ++p) {
      const float* row = call[h].as<float>() + columns[p] * k;
      for (int64_t q = p; q < k; ++q) matrix[p * k + q] = row[columns[q]];
      matrix[p * k + p] = diagonal(columns[p]) + fraction * mean;
    }
  }

  void store(bool found, ThreadPool& pool) const {
    auto* out = call[factor].as<float>();
    pool.parallel_for(k, row_grain(k), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        std::fill_n(out + row * k, k, 0.0f);
        if (!found) out[row * k + row] = 1;
        for (int64_t col = row; found && col < k; ++col) {
          out[row * k + col] = static_cast<float>(inverse[col * k + row]);
        }
      }
    });
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  const Factor work{call};
  work.mark_dead();
  work.sort_columns();
  const double first = call.attrs[damp];
  bool found = false;
  double fraction = first;
  for (; !found && fraction < 1; fraction += std::max(first, 0.01)) {
    work.load(fraction);
    found = inverse_factor(work.matrix, work.k, work.inverse, pool);
    if (found) break;
  }
  *call[used].as<float>() = found ? static_cast<float>(fraction) : -1.0f;
  work.store(found, pool);
}

size_t workspace(const OpCall& call) { return 2 * call[h].elements() * sizeof(double); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
