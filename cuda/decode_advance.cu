// decode_advance on CUDA: see src/ops/decode_advance.h.
#include "../src/ops/decode_advance.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

struct DecodeAdvance {
  static constexpr int kWidth = 1;
  const int32_t* tokens;
  const int32_t* block_table;
  int32_t* ids;
  int32_t* positions;
  int32_t* slots;
  int32_t* steps;
  int64_t pages;
  int32_t page_size;

  template <int Count>
  __device__ void run(int64_t, int64_t row) const {
    if (positions[row] < 0) return;
    const int32_t position = positions[row] + 1;
    const int32_t index = position / page_size;
    const int32_t page = index < pages ? block_table[row * pages + index] : -1;
    ids[row] = tokens[row];
    positions[row] = position;
    steps[row] += 1;
    slots[row] = page < 0 ? -1 : page * page_size + position % page_size;
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::decode_advance;
  const DecodeAdvance body{call[tokens].as<int32_t>(), call[block_table].as<int32_t>(),
                           call[ids].as<int32_t>(),    call[positions].as<int32_t>(),
                           call[slots].as<int32_t>(),  call[steps].as<int32_t>(),
                           call[block_table].shape[1], static_cast<int32_t>(call.attrs[page_size])};
  map_rows("decode_advance", context, 1, call[tokens].shape[0], true, body);
}

const CudaOp op("decode_advance", run);

}  // namespace
}  // namespace fewbit::cuda
