// affine_quantize on CUDA: see src/ops/affine_quantize.h.
#include "../src/ops/affine_quantize.h"

#include <algorithm>
#include <cmath>

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
  int rotation;           // width of the blocks; 0 for none
  float rotation_factor;  // 1 / sqrt(width)
  bool packs;             // eight neighbours of a row may be read at once
};

template <class T>
struct SourceRow {
  const Source<T>& source;
  const T* x;
  const T* up;

  __device__ __forceinline__ SourceRow(const Source<T>& source, int64_t row)
      : source(source),
        x(source.x + row * source.x_stride),
        up(source.up + row * source.up_stride) {}

  __device__ __forceinline__ float at(int64_t column) const {
    return value_of(x[column], source.up ? up[column] : T{});
  }
  __device__ __forceinline__ bool pack(int64_t first, float (&values)[kPack]) const {
    if (!source.packs) return false;
    const auto own = *reinterpret_cast<const affine::Pack<T>*>(x + first);
    affine::Pack<T> other{};
    if (source.up) other = *reinterpret_cast<const affine::Pack<T>*>(up + first);
#pragma unroll
    for (int i = 0; i < kPack; ++i) values[i] = value_of(own.value[i], other.value[i]);
    return true;
  }

 private:
  __device__ __forceinline__ float value_of(T own, T other) const {
    if (!source.up) return to_float(own);
    return __fmul_rn(gate_value(to_float(own), source.activation), to_float(other));
  }
};

// The rotation (affine_quantize.h) of blocks of `width` neighbours of a row, eight in each thread and the
// rest in the lanes beside it, all of which are here, as blocks divide rows.
__device__ __forceinline__ void rotate(float (&values)[kPack], int width, float factor) {
#pragma unroll
  for (int half = 1; half < kPack; half *= 2) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      if (i & half) continue;
      const float a = values[i], b = values[i + half];
      values[i] = a + b;
      values[i + half] = a - b;
    }
  }
  const int lanes = width / kPack;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const unsigned block = 0xffffffffu >> (32 - lanes) << (lane & ~(lanes - 1));
  for (int other = 1; other < lanes; other *= 2) {
    const bool is_second = lane & other;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const float theirs = __shfl_xor_sync(block, values[i], other);
      values[i] = is_second ? theirs - values[i] : values[i] + theirs;
    }
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) values[i] = __fmul_rn(values[i], factor);
}

// A thread writes eight neighbours. What an order scatters is read through L1, where a row fits.
template <int Bits, bool Rotates, class T>
__global__ __launch_bounds__(kThreads) void quantize(const Source<T> source, const CodeRows rows,
                                                     int64_t row_count) {
  start_successor();
  wait_for_predecessor();
  const int64_t pack = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pack >= rows.packs_in_row()) return;
  for (int64_t row = blockIdx.y; row < row_count; row += gridDim.y) {
    const int64_t first = pack * kPack;
    float values[kPack];
    affine::gather(rows, first, SourceRow<T>(source, row), values);
    if constexpr (Rotates) rotate(values, source.rotation, source.rotation_factor);
    affine::write_values<Bits, T>(rows, row, first, values);
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
    Source<T> source{.x = call[x].as<T>(),
                     .up = call[up] ? call[up].as<T>() : nullptr,
                     .x_stride = call[x].row_stride(),
                     .up_stride = call[up] ? call[up].row_stride() : 0,
                     .activation = static_cast<Gate>(static_cast<int>(call.attrs[activation])),
                     .rotation = static_cast<int>(call.attrs[rotation])};
    source.rotation_factor = static_cast<float>(1.0 / std::sqrt(call.attrs[rotation]));
    source.packs = vector_aligned(source.x, source.x_stride, sizeof(T)) &&
                   vector_aligned(source.up, source.up_stride, sizeof(T));
    const auto start = [&](auto rotates) {
      constexpr bool kRotates = decltype(rotates)::value;
      const auto kernel =
          call.attrs[bits] == 8 ? quantize<8, kRotates, T> : quantize<4, kRotates, T>;
      launch(config, context, kernel, source, rows, row_count);
    };
    source.rotation ? start(std::true_type{}) : start(std::false_type{});
  });
}

const CudaOp op("affine_quantize", run);

}  // namespace
}  // namespace fewbit::cuda
