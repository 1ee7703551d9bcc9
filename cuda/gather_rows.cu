// gather_rows on CUDA: see src/ops/gather_rows.h.
#include "../src/ops/gather_rows.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

// Rows are moved as words of any type of the element's size. A row outside x yields zeros too.
template <class Word>
struct GatherRows {
  static constexpr int kWidth = 16 / sizeof(Word);
  const Word* x;
  const int32_t* rows;
  Word* out;
  int64_t row_count, columns;

  template <int Count>
  __device__ void run(int64_t row, int64_t column) const {
    const int64_t from = rows[row];
    Pack<Word, Count> values{};
    if (from >= 0 && from < row_count) values = load_pack<Count>(x + from * columns + column);
    store_pack(out + row * columns + column, values);
  }
};

template <class Word>
void gather(const OpCall& call, Context& context) {
  using namespace ops::gather_rows;
  const int64_t columns = call[x].cols();
  const GatherRows<Word> body{call[x].as<Word>(), call[rows].as<int32_t>(), call[out].as<Word>(),
                              call[x].rows(), columns};
  const bool aligned = vector_aligned(body.x, columns, sizeof(Word)) &&
                       vector_aligned(body.out, columns, sizeof(Word));
  map_rows("gather_rows", context, call[out].rows(), columns, aligned, body);
}

void run(const OpCall& call, Context& context) {
  switch (size_of(call[ops::gather_rows::x].dtype)) {
    case 1:
      return gather<uint8_t>(call, context);
    case 2:
      return gather<uint16_t>(call, context);
    case 4:
      return gather<uint32_t>(call, context);
    default:
      return gather<uint64_t>(call, context);
  }
}

const CudaOp op("gather_rows", run);

}  // namespace
}  // namespace fewbit::cuda
