// fill_random on CUDA: see src/ops/fill_random.h.
#include "../src/ops/fill_random.h"

#include "../src/core/philox.h"
#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

template <class T>
struct FillRandom {
  static constexpr int kWidth = 16 / sizeof(T);
  T* out;
  uint32_t seed;
  double amplitude;  // the uniform values lie in (-amplitude, amplitude)

  template <int Count>
  __device__ void run(int64_t, int64_t column) const {
    Pack<T, Count> values;
#pragma unroll
    for (int i = 0; i < Count; ++i) values.value[i] = element(column + i);
    store_pack(out + column, values);
  }

  __device__ T element(int64_t index) const {
    const uint32_t counter[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                                 0, 0};
    const uint32_t key[2] = {seed, 0};
    uint32_t words[4];
    philox4x32_10(counter, key, words);
    if constexpr (sizeof(T) == 1) {
      return static_cast<T>(static_cast<int>(words[0] % 255) - 127);
    } else {
      return from_float<T>(static_cast<float>(amplitude * (2 * (words[0] + 0.5) * 0x1p-32 - 1)));
    }
  }
};

template <class T>
void fill(const OpCall& call, Context& context) {
  using namespace ops::fill_random;
  const FillRandom<T> body{call[out].as<T>(), static_cast<uint32_t>(call.attrs[seed]),
                           call.attrs[scale] * 1.7320508075688772};
  map_rows("fill_random", context, 1, call[out].elements(), vector_aligned(body.out, 0, sizeof(T)),
           body);
}

void run(const OpCall& call, Context& context) {
  const DType dtype = call[ops::fill_random::out].dtype;
  if (dtype == DType::I8) {
    const TensorView& written = call[ops::fill_random::out];
    context.recent_writes.add(written.data, static_cast<size_t>(written.elements()));
    return fill<int8_t>(call, context);
  }
  with_float(dtype, [&](auto zero) { fill<decltype(zero)>(call, context); });
}

const CudaOp op("fill_random", run);

}  // namespace
}  // namespace fewbit::cuda
