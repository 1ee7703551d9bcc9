// gather_columns on CUDA: see src/ops/gather_columns.h.
#include "../src/ops/gather_columns.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

// Reads are a row apart, so each costs a sector: the op serves loading, where that is cheap enough.
// A column outside x yields zeros.
template <class Word>
struct GatherColumns {
  static constexpr int kWidth = 4;
  const Word* x;
  const int32_t* columns;
  Word* out;
  int64_t x_columns, out_columns;

  template <int Count>
  __device__ void run(int64_t row, int64_t column) const {
    const int64_t from = columns[row];
    const bool inside = from >= 0 && from < x_columns;
    Pack<Word, Count> values{};
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      if (inside) values.value[i] = x[(column + i) * x_columns + from];
    }
    store_pack(out + row * out_columns + column, values);
  }
};

template <class Word>
void gather(const OpCall& call, Context& context) {
  using namespace ops::gather_columns;
  const GatherColumns<Word> body{call[x].as<Word>(), call[columns].as<int32_t>(),
                                 call[out].as<Word>(), call[x].cols(), call[out].cols()};
  const bool aligned = vector_aligned(body.out, body.out_columns, sizeof(Word));
  map_rows("gather_columns", context, call[out].rows(), body.out_columns, aligned, body);
}

void run(const OpCall& call, Context& context) {
  if (size_of(call[ops::gather_columns::x].dtype) == 2) {
    gather<uint16_t>(call, context);
  } else {
    gather<uint32_t>(call, context);
  }
}

const CudaOp op("gather_columns", run);

}  // namespace
}  // namespace fewbit::cuda
