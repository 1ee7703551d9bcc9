#include "../ops/gather_rows.h"

#include <cstring>

#include "checks.h"
#include "cpu_op.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::gather_rows;

void run(const OpCall& call, ThreadPool& pool) {
  const auto* picked = call[rows].as<int32_t>();
  const int64_t count = call[rows].elements(), cols = call[x].cols();
  const size_t bytes = cols * size_of(call[x].dtype);
  if (bytes == 0) return;
  for (int64_t r = 0; r < count; ++r) {
    if (picked[r] >= 0) require_range(spec, rows, r, picked[r], 0, call[x].rows());
  }
  pool.parallel_for(count, row_grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      char* to = call[out].as<char>() + r * bytes;
      if (picked[r] < 0) {
        std::memset(to, 0, bytes);
      } else {
        std::memcpy(to, call[x].as<char>() + picked[r] * bytes, bytes);
      }
    }
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
