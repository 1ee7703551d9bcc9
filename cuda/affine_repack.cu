// affine_repack on CUDA: see src/ops/affine_repack.h.
//
// No kernel here lets a successor begin early: linear_affine reads codes before it waits.
#include "../src/ops/affine_repack.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "common/launch.h"

namespace fewbit::cuda {
namespace {

using namespace ops::affine_repack;

constexpr int kThreads = 128;

struct Plane {
  const uint8_t* from;
  uint8_t* to;
  int64_t from_bytes, to_bytes;  // of a row
  int64_t rows, positions;
  int width;
  uint8_t flip;  // what codes are changed by
};

// A thread makes a byte, of the positions that share it.
__global__ __launch_bounds__(kThreads) void repack(const Plane p) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= p.rows * p.to_bytes) return;
  const int64_t row = index / p.to_bytes, byte = index % p.to_bytes;
  const int per_byte = 8 / p.width, per_word = 32 / p.width;
  // What field_of says, the other way round.
  const int64_t chunk = byte / (16 * p.width), in_chunk = byte % (16 * p.width);
  const int64_t part = in_chunk / (4 * p.width), word = in_chunk % (4 * p.width) / 4;
  const auto* words = reinterpret_cast<const uint32_t*>(p.from + row * p.from_bytes);
  uint32_t packed = 0;
  for (int i = 0; i < per_byte; ++i) {
    const int64_t position =
        chunk * ops::affine::kChunk + (word * per_byte + i) * 16 + part * 4 + byte % 4;
    if (position >= p.positions) break;
    const int shift = ops::gptq::field_shift(static_cast<int>(position % per_word), p.width);
    const uint32_t code = words[position / per_word] >> shift & ((1u << p.width) - 1);
    packed |= (code ^ p.flip) << i * p.width;
  }
  p.to[index] = static_cast<uint8_t>(packed);
}

void repack_plane(const TensorView& from, const TensorView& to, int64_t k, int width, uint8_t flip,
                  Context& context) {
  const Plane plane{
      from.as<uint8_t>(), to.as<uint8_t>(), from.cols(), to.cols(), to.rows(), k, width, flip};
  const int64_t bytes = to.elements();
  if (bytes == 0) return;
  const Launch config{.name = "affine_repack",
                      .grid = dim3(static_cast<unsigned>((bytes + kThreads - 1) / kThreads)),
                      .block = dim3(kThreads)};
  launch(config, context, repack, plane);
}

void run(const OpCall& call, Context& context) {
  const int width = static_cast<int>(call.attrs[bits]);
  const auto k = static_cast<int64_t>(call.attrs[positions]);
  repack_plane(call[codes], call[out_codes], k, ops::affine::low_width(width),
               width == 8 ? 0x80 : 0, context);
  if (width == 3) repack_plane(call[high], call[out_high], k, 1, 0, context);
}

const CudaOp op("affine_repack", run);

}  // namespace
}  // namespace fewbit::cuda
