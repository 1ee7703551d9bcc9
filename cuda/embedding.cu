// embedding on CUDA: see src/ops/embedding.h.
#include "../src/ops/embedding.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

template <class Table, class Out>
struct Embedding {
  static constexpr int kWidth = 8;
  const int32_t* ids;
  const Table* table;
  Out* out;
  int64_t vocabulary, columns, offset;
  bool accumulate;

  template <int Count>
  __device__ void run(int64_t row, int64_t column) const {
    const int64_t id = ids[row], entry = id + offset;
    const bool known = id >= 0 && entry >= 0 && entry < vocabulary;
    if (accumulate && !known) return;
    Out* at = out + row * columns + column;
    Pack<Out, Count> values{};
    if (known) {
      const auto entries = load_pack<Count>(table + entry * columns + column);
      if (accumulate) values = load_pack<Count>(static_cast<const Out*>(at));
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        const float base = accumulate ? to_float(values.value[i]) : 0.0f;
        values.value[i] = from_float<Out>(base + to_float(entries.value[i]));
      }
    }
    store_pack(at, values);
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::embedding;
  with_float(call[table].dtype, [&](auto table_zero) {
    with_float(call[out].dtype, [&](auto out_zero) {
      using Table = decltype(table_zero);
      using Out = decltype(out_zero);
      const int64_t columns = call[table].cols();
      const Embedding<Table, Out> body{call[ids].as<int32_t>(),
                                       call[table].as<Table>(),
                                       call[out].as<Out>(),
                                       call[table].shape[0],
                                       columns,
                                       static_cast<int64_t>(call.attrs[offset]),
                                       call.attrs[accumulate] != 0};
      const bool aligned = vector_aligned(body.table, columns, sizeof(Table)) &&
                           vector_aligned(body.out, columns, sizeof(Out)) && columns % 8 == 0;
      map_rows("embedding", context, call[ids].shape[0], columns, aligned, body);
    });
  });
}

const CudaOp op("embedding", run);

}  // namespace
}  // namespace fewbit::cuda
