// cast on CUDA: see src/ops/cast.h.
#include "../src/ops/cast.h"

#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

template <class From, class To>
struct Cast {
  static constexpr int kWidth = 8;
  const From* x;
  To* out;

  template <int Count>
  __device__ void run(int64_t, int64_t column) const {
    const auto from = load_pack<Count>(x + column);
    Pack<To, Count> to;
#pragma unroll
    for (int i = 0; i < Count; ++i) to.value[i] = from_float<To>(to_float(from.value[i]));
    store_pack(out + column, to);
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::cast;
  with_float(call[x].dtype, [&](auto from) {
    with_float(call[out].dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const Cast<From, To> body{call[x].as<From>(), call[out].as<To>()};
      const bool aligned =
          vector_aligned(body.x, 0, sizeof(From)) && vector_aligned(body.out, 0, sizeof(To));
      map_rows("cast", context, 1, call[x].elements(), aligned, body);
    });
  });
}

const CudaOp op("cast", run);

}  // namespace
}  // namespace fewbit::cuda
