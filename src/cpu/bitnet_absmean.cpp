#include "../ops/bitnet_absmean.h"

#include <cmath>

#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::bitnet_absmean;

constexpr int64_t kPiece = 1024;  // values widened at a time

double sum_of_row(const TensorView& view, int64_t row) {
  const int64_t k = view.cols();
  const auto widen = kernels().widen[static_cast<int>(view.dtype)];
  float values[kPiece];
  double sum = 0;
  for (int64_t begin = 0; begin < k; begin += kPiece) {
    const int64_t count = std::min(kPiece, k - begin);
    widen(view.as<char>() + (row * k + begin) * size_of(view.dtype), count, values);
    for (int64_t i = 0; i < count; ++i) sum += std::fabs(values[i]);
  }
  return sum;
}

void run(const OpCall& call, ThreadPool& pool) {
  const int64_t n = call[w].rows(), k = call[w].cols();
  auto* rows = static_cast<double*>(call.workspace);
  pool.parallel_for(n, row_grain(k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) rows[row] = sum_of_row(call[w], row);
  });
  double sum = 0;
  for (int64_t row = 0; row < n; ++row) sum += rows[row];
  const double count = static_cast<double>(std::max<int64_t>(n * k, 1));
  const float mean = static_cast<float>(sum / count);
  *call[gamma].as<float>() = mean < ops::bitnet::kSmallest ? ops::bitnet::kSmallest : mean;
}

size_t workspace(const OpCall& call) { return call[w].rows() * sizeof(double); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
