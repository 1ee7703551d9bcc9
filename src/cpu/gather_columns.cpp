#include "../ops/gather_columns.h"

#include "checks.h"
#include "cpu_op.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::gather_columns;

// A piece of rows of x at a time, so that lines which several columns share are read once.
template <class T>
void gather(const OpCall& call, ThreadPool& pool) {
  const int64_t n = call[x].rows(), k = call[x].cols(), count = call[columns].elements();
  const auto* picked = call[columns].as<int32_t>();
  pool.parallel_for(n, row_grain(count), [&](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < count; ++s) {
      const T* from = call[x].as<T>() + picked[s];
      T* to = call[out].as<T>() + s * n;
      for (int64_t row = begin; row < end; ++row) to[row] = from[row * k];
    }
  });
}

void run(const OpCall& call, ThreadPool& pool) {
  const int64_t count = call[columns].elements();
  if (count == 0) return;
  for (int64_t s = 0; s < count; ++s) {
    require_range(spec, columns, s, call[columns].as<int32_t>()[s], 0, call[x].cols());
  }
  if (size_of(call[x].dtype) == sizeof(float)) {
    gather<float>(call, pool);
  } else {
    gather<uint16_t>(call, pool);
  }
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
