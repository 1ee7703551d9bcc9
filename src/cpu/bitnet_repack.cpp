#include "../ops/bitnet_repack.h"

#include <atomic>
#include <bit>

#include "bitnet_words.h"
#include "cpu_op.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::bitnet_repack;

void run(const OpCall& call, ThreadPool& pool) {
  const int64_t quarter = call[packed].rows(), k = call[packed].cols();
  const int64_t bytes = call[weight].cols();
  std::atomic<int32_t> wrong{0};
  pool.parallel_for(quarter, row_grain(k), [&](int64_t begin, int64_t end) {
    int32_t found = 0;
    for (int64_t row = begin; row < end; ++row) {
      const uint8_t* from = call[packed].as<uint8_t>() + row * k;
      for (int64_t p = 0; p < k; ++p) {
        found += std::popcount(static_cast<uint32_t>(from[p] & from[p] >> 1 & 0x55));
      }
      for (int i = 0; i < 4; ++i) {
        char* to = call[weight].as<char>() + (i * quarter + row) * bytes;
        pack_ternary_row(k, to, [&](int64_t column) {
          const int code = from[column] >> 2 * i & 3;
          return code == 3 ? 1 : code;
        });
      }
    }
    wrong += found;
  });
  *call[invalid].as<int32_t>() += wrong;
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
