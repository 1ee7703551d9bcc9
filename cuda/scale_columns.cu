// scale_columns on CUDA: see src/ops/scale_columns.h.
#include "../src/ops/scale_columns.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

template <class T>
struct ScaleColumns {
  static constexpr int kWidth = kVectorSize<T>;
  T* x;
  const float* scale;
  int64_t stride;

  template <int Count>
  __device__ void run(int64_t row, int64_t column) const {
    T* at = x + row * stride + column;
    auto values = load_pack<Count>(static_cast<const T*>(at));
    const auto factors = load_pack<Count>(scale + column);
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      values.value[i] = from_float<T>(to_float(values.value[i]) * factors.value[i]);
    }
    store_pack(at, values);
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::scale_columns;
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const ScaleColumns<T> body{call[x].as<T>(), call[scale].as<float>(), call[x].row_stride()};
    const bool aligned = vector_aligned(body.x, body.stride, sizeof(T)) &&
                         vector_aligned(body.scale, 0, sizeof(float));
    map_rows("scale_columns", context, call[x].rows(), call[x].cols(), aligned, body);
  });
}

const CudaOp op("scale_columns", run);

}  // namespace
}  // namespace fewbit::cuda
