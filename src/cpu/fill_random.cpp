#include "../ops/fill_random.h"

#include <cmath>

#include "../core/philox.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::fill_random;

uint32_t random_word(int64_t index, uint32_t seed_word) {
  const uint32_t counter[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0,
                               0};
  const uint32_t key[2] = {seed_word, 0};
  uint32_t words[4];
  philox4x32_10(counter, key, words);
  return words[0];
}

void run(const OpCall& call, ThreadPool& pool) {
  const Kernels& kernel = kernels();
  const TensorView& to = call[out];
  const auto seed_word = static_cast<uint32_t>(static_cast<int64_t>(call.attrs[seed]));
  const double factor = call.attrs[scale] * std::sqrt(3.0);
  pool.parallel_for(to.elements(), kGrainElements, [&](int64_t begin, int64_t end) {
    if (to.dtype == DType::I8) {
      for (int64_t i = begin; i < end; ++i) {
        to.as<int8_t>()[i] = static_cast<int8_t>(int(random_word(i, seed_word) % 255) - 127);
      }
      return;
    }
    float values[1024];
    for (int64_t i = begin; i < end; i += std::size(values)) {
      const int64_t count = std::min<int64_t>(std::size(values), end - i);
      for (int64_t j = 0; j < count; ++j) {
        const double uniform = (random_word(i + j, seed_word) + 0.5) * 0x1p-31 - 1.0;
        values[j] = static_cast<float>(factor * uniform);
      }
      kernel.narrow[static_cast<int>(to.dtype)](values, count,
                                                to.as<char>() + i * size_of(to.dtype));
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
