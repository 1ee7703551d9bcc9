#include "../ops/decode_advance.h"

#include "checks.h"
#include "cpu_op.h"

namespace fewbit::cpu {

namespace {

using namespace ops::decode_advance;

void run(const OpCall& call, ThreadPool&) {
  const int64_t size = static_cast<int64_t>(call.attrs[page_size]);
  if (size < 1) {
    throw Error("ERR_FEWBIT_RANGE",
                "decode_advance: page_size must be at least 1, not " + std::to_string(size));
  }
  const int64_t rows = call[tokens].elements(), pages = call[block_table].cols();
  for (int64_t b = 0; b < rows; ++b) {
    int32_t& position = call[positions].as<int32_t>()[b];
    if (position < 0) continue;
    call[ids].as<int32_t>()[b] = call[tokens].as<int32_t>()[b];
    ++position;
    ++call[steps].as<int32_t>()[b];
    const int64_t index = position / size;
    const int64_t page = index < pages ? call[block_table].as<int32_t>()[b * pages + index] : -1;
    call[slots].as<int32_t>()[b] =
        page < 0 ? -1 : static_cast<int32_t>(page * size + position % size);
  }
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
