#include "../ops/cast.h"

#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::cast;

void run(const OpCall& call, ThreadPool& pool) {
  const Kernels& kernel = kernels();
  const auto widen = kernel.widen[static_cast<int>(call[x].dtype)];
  const auto narrow = kernel.narrow[static_cast<int>(call[out].dtype)];
  const size_t from = size_of(call[x].dtype), to = size_of(call[out].dtype);
  pool.parallel_for(call[x].elements(), kGrainElements, [&](int64_t begin, int64_t end) {
    float values[1024];
    for (int64_t i = begin; i < end; i += std::size(values)) {
      const int64_t count = std::min<int64_t>(std::size(values), end - i);
      widen(call[x].as<char>() + i * from, count, values);
      narrow(values, count, call[out].as<char>() + i * to);
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
