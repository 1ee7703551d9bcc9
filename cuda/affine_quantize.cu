// affine_quantize on CUDA: see src/ops/affine_quantize.h.
#include "../src/ops/affine_quantize.h"

#include <algorithm>

#include "affine/write_codes.cuh"
#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/gate.cuh"
#include "common/launch.h"

namespace fewbit::cuda {
namespace {

using affine::CodeRows;
using affine::kPack;

constexpr int kThreads = 128;

template <class T>
struct Source {
  const T* x;
  const T* up;  // may be null
  int64_t x_stride, up_stride;
  Gate activation;
};

// A thread writes eight neighbours. What an order scatters is read through L1, where a row fits.
template <int Bits, class T>
__global__ __launch_bounds__(kThreads) void quantize(const Source<T> source, const CodeRows rows,
                                                     int64_t row_count) {
  start_successor();
  wait_for_predecessor();
  const int64_t pack = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pack >= rows.packs_in_row()) return;
  for (int64_t row = blockIdx.y; row < row_count; row += gridDim.y) {
    const T* x = source.x + row * source.x_stride;
    const T* up = source.up + row * source.up_stride;
    affine::write_pack<Bits, T>(rows, row, pack * kPack, [&](int64_t column) {
      const float value = to_float(x[column]);
      if (!source.up) return value;
      return __fmul_rn(gate_value(value, source.activation), to_float(up[column]));
    });
  }
}

void run(const OpCall& call, Context& context) {
  using namespace ops::affine_quantize;
  const int64_t row_count = call[x].rows();
  const CodeRows rows = affine::code_rows(call[order], call[grid], call[codes], call[x].cols());
  if (row_count == 0 || rows.count == 0) return;
  const int64_t packs = (rows.count + kPack - 1) / kPack;
  const dim3 blocks(static_cast<unsigned>((packs + kThreads - 1) / kThreads),
                    static_cast<unsigned>(std::min<int64_t>(row_count, 65535)));
  const Launch config{
      .name = "affine_quantize", .grid = blocks, .block = dim3(kThreads), .overlap = true};
  with_float(call[x].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Source<T> source{call[x].as<T>(), call[up] ? call[up].as<T>() : nullptr,
                           call[x].row_stride(), call[up] ? call[up].row_stride() : 0,
                           static_cast<Gate>(static_cast<int>(call.attrs[activation]))};
    const auto kernel = call.attrs[bits] == 8 ? quantize<8, T> : quantize<4, T>;
    launch(config, context, kernel, source, rows, row_count);
  });
}

const CudaOp op("affine_quantize", run);

}  // namespace
}  // namespace fewbit::cuda
