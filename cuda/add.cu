// add on CUDA: see src/ops/add.h.
#include "../src/ops/add.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

template <class T>
struct Add {
  static constexpr int kWidth = kVectorSize<T>;
  const T* a;
  const T* b;
  T* out;

  template <int Count>
  __device__ void run(int64_t, int64_t column) const {
    const auto left = load_pack<Count>(a + column);
    const auto right = load_pack<Count>(b + column);
    Pack<T, Count> sum;
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      sum.value[i] = from_float<T>(to_float(left.value[i]) + to_float(right.value[i]));
    }
    store_pack(out + column, sum);
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::add;
  with_float(call[a].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Add<T> body{call[a].as<T>(), call[b].as<T>(), call[out].as<T>()};
    const bool aligned = vector_aligned(body.a, 0, sizeof(T)) &&
                         vector_aligned(body.b, 0, sizeof(T)) &&
                         vector_aligned(body.out, 0, sizeof(T));
    map_rows("add", context, 1, call[a].elements(), aligned, body);
  });
}

const CudaOp op("add", run);

}  // namespace
}  // namespace fewbit::cuda
