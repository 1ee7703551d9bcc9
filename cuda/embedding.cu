// embedding on CUDA: see src/ops/embedding.h.
#include "../src/ops/embedding.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

// Rows of floats.
template <class Table>
struct FloatRows {
  const Table* table;
  int64_t stride;

  template <int Count>
  __device__ void read(float (&values)[Count], int64_t entry, int64_t column) const {
    const auto entries = load_pack<Count>(table + entry * stride + column);
#pragma unroll
    for (int i = 0; i < Count; ++i) values[i] = to_float(entries.value[i]);
  }
};

// Rows of codes with a scale each.
struct CodedRows {
  const int8_t* table;
  int64_t stride;
  const float* scales;

  template <int Count>
  __device__ void read(float (&values)[Count], int64_t entry, int64_t column) const {
    const auto codes = load_pack<Count>(table + entry * stride + column);
    const float step = __fdiv_rn(scales[entry], 127.0f);
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      values[i] = __fmul_rn(static_cast<float>(codes.value[i]), step);
    }
  }
};

template <class Rows, class Out>
struct Embedding {
  static constexpr int kWidth = 8;
  const int32_t* ids;
  Rows rows;
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
      float entries[Count];
      rows.read(entries, entry, column);
      if (accumulate) values = load_pack<Count>(static_cast<const Out*>(at));
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        const float base = accumulate ? to_float(values.value[i]) : 0.0f;
        values.value[i] = from_float<Out>(base + entries[i]);
      }
    }
    store_pack(at, values);
  }
};

template <class Rows>
void look_up(const OpCall& call, const Rows& rows, size_t element_bytes, Context& context) {
  using namespace ops::embedding;
  with_float(call[out].dtype, [&](auto out_zero) {
    using Out = decltype(out_zero);
    const int64_t columns = call[out].cols();
    const Embedding<Rows, Out> body{
        call[ids].as<int32_t>(),    rows,    call[out].as<Out>(),
        vocabulary(call),           columns, static_cast<int64_t>(call.attrs[offset]),
        call.attrs[accumulate] != 0};
    const bool aligned = vector_aligned(rows.table, rows.stride, element_bytes) &&
                         vector_aligned(body.out, columns, sizeof(Out)) && columns % 8 == 0;
    map_rows("embedding", context, call[ids].shape[0], columns, aligned, body);
  });
}

void run(const OpCall& call, Context& context) {
  using namespace ops::embedding;
  const int64_t stride = call[table].cols();
  if (call[scales]) {
    const CodedRows rows{call[table].as<int8_t>(), stride, call[scales].as<float>()};
    return look_up(call, rows, 1, context);
  }
  with_float(call[table].dtype, [&](auto zero) {
    using Table = decltype(zero);
    look_up(call, FloatRows<Table>{call[table].as<Table>(), stride}, sizeof(Table), context);
  });
}

const CudaOp op("embedding", run);

}  // namespace
}  // namespace fewbit::cuda
