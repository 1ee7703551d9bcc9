#include "../ops/token_nll.h"

#include <cmath>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::token_nll;

float negative_log_likelihood(const Kernels& kernel, const float* row, int64_t vocab,
                              int32_t target) {
  const float largest = kernel.max(row, vocab);
  float values[1024];
  double sum = 0;
  for (int64_t i = 0; i < vocab; i += std::size(values)) {
    const int64_t count = std::min<int64_t>(std::size(values), vocab - i);
    sum += kernel.exp_sum(row + i, count, largest, values);
  }
  return static_cast<float>(std::log(sum) + largest - row[target]);
}

void run(const OpCall& call, ThreadPool& pool) {
  const Kernels& kernel = kernels();
  const int64_t vocab = call[logits].cols(), count = call[targets].elements();
  const auto* target = call[targets].as<int32_t>();
  for (int64_t t = 0; t < count; ++t) {
    if (target[t] >= 0) require_range(spec, targets, t, target[t], 0, vocab);
  }
  pool.parallel_for(count, row_grain(vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = call[logits].as<float>() + t * vocab;
      call[out].as<float>()[t] =
          target[t] < 0 ? 0.0f : negative_log_likelihood(kernel, row, vocab, target[t]);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
