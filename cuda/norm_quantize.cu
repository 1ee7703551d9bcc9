// norm_quantize on CUDA: see src/ops/norm_quantize.h.
#include "../src/ops/norm_quantize.h"

#include "affine/write_codes.cuh"
#include "common/cuda_op.h"
#include "norm/row_norm.cuh"

namespace fewbit::cuda {
namespace {

using namespace ops::norm_quantize;
using affine::CodeRows;
using affine::kPack;

constexpr int64_t kMaxColumns = 57344;  // 224 KiB of shared memory

struct SharedRow {
  const float* values;  // 16-byte aligned

  __device__ __forceinline__ float at(int64_t column) const { return values[column]; }
  __device__ __forceinline__ bool pack(int64_t first, float (&to)[kPack]) const {
    const auto own = *reinterpret_cast<const affine::Pack<float>*>(values + first);
#pragma unroll
    for (int i = 0; i < kPack; ++i) to[i] = own.value[i];
    return true;
  }
};

// Where a norm's row goes: into shared memory first, which the threads gather from.
template <int Bits, class T>
struct GatherRow {
  CodeRows rows;

  template <int Threads>
  __device__ __forceinline__ void prefetch() const {
    for (int64_t j = int64_t{threadIdx.x} * kPack; j < rows.count; j += Threads * kPack) {
      if (rows.order) prefetch_line(rows.order + j);
      if (rows.grid) prefetch_line(rows.grid + j), prefetch_line(rows.grid + rows.count + j);
    }
  }

  template <int Count>
  __device__ __forceinline__ void put(int64_t, int64_t column, const float (&y)[Count]) const {
    float* to = row_in_shared() + column;
#pragma unroll
    for (int i = 0; i < Count; ++i) to[i] = y[i];
  }

  template <int Threads>
  __device__ __forceinline__ void finish(int64_t row) const {
    __syncthreads();
    for (int64_t pack = threadIdx.x; pack < rows.packs_in_row(); pack += Threads) {
      affine::write_pack<Bits, T>(rows, row, pack * kPack, SharedRow{row_in_shared()});
    }
  }

 private:
  static __device__ __forceinline__ float* row_in_shared() {
    extern __shared__ __align__(16) float gathered_row[];
    return gathered_row;
  }
};

template <Norm Kind, class T>
void normalise(const OpCall& call, const RowNorm<T>& norm, Context& context) {
  const CodeRows rows = affine::code_rows(call[order], call[grid], call[out], norm.columns);
  affine::with_bits(static_cast<int>(call.attrs[bits]), [&](auto width) {
    run_row_norm<Kind>("norm_quantize", context, call[x].rows(), norm,
                       GatherRow<decltype(width)::value, T>{rows},
                       static_cast<size_t>(norm.columns) * sizeof(float));
  });
}

void run(const OpCall& call, Context& context) {
  const int64_t cols = call[x].cols();
  if (cols > kMaxColumns) {
    throw Error("ERR_FEWBIT_SHAPE", "norm_quantize: x has " + std::to_string(cols) +
                                        " columns; on CUDA at most " + std::to_string(kMaxColumns) +
                                        " are possible");
  }
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto norm =
        row_norm_of<T>(call[x], call[residual], call[weight], call[bias], call.attrs[eps]);
    if (call.attrs[centered] != 0) {
      normalise<Norm::Layer>(call, norm, context);
    } else {
      normalise<Norm::Rms>(call, norm, context);
    }
  });
}

const CudaOp op("norm_quantize", run);

}  // namespace
}  // namespace fewbit::cuda
