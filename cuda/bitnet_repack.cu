// bitnet_repack on CUDA: see src/ops/bitnet_repack.h.
#include "../src/ops/bitnet_repack.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "common/reduce.cuh"

namespace fewbit::cuda {
namespace {

using namespace ops::bitnet_repack;
namespace layout = ops::bitnet;

constexpr int kThreads = 128;

struct Repack {
  const uint8_t* packed;
  uint32_t* weight;
  int32_t* invalid;
  int64_t rows, cols, row_words;
};

// A thread reads 16 columns of a packed row and writes a word of each of its four rows.
__global__ __launch_bounds__(kThreads) void repack(const Repack p) {
  wait_for_predecessor();
  const int64_t word = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  int found = 0;
  for (int64_t row = blockIdx.y; row < p.rows && word < p.row_words; row += gridDim.y) {
    uint32_t words[4] = {};
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int64_t column = word * 16 + i;
      const uint32_t byte = column < p.cols ? p.packed[row * p.cols + column] : 0x55u;
#pragma unroll
      for (int quarter = 0; quarter < 4; ++quarter) {
        const uint32_t code = byte >> 2 * quarter & 3;
        found += code == 3;
        words[quarter] |= (code == 3 ? 1u : code) << layout::field_shift(i);
      }
    }
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
      p.weight[(quarter * p.rows + row) * p.row_words + word] = words[quarter];
    }
  }
  found = warp_reduce(found, Sum{});
  if (threadIdx.x % 32 == 0 && found) atomicAdd(p.invalid, found);
}

void run(const OpCall& call, Context& context) {
  const Repack p{call[packed].as<uint8_t>(),  call[weight].as<uint32_t>(),
                 call[invalid].as<int32_t>(), call[packed].rows(),
                 call[packed].cols(),         call[weight].cols() / 4};
  if (p.rows == 0 || p.row_words == 0) return;
  Launch config;
  config.name = "bitnet_repack";
  config.grid = dim3(static_cast<unsigned>((p.row_words + kThreads - 1) / kThreads),
                     static_cast<unsigned>(std::min<int64_t>(p.rows, 65535)));
  config.block = dim3(kThreads);
  launch(config, context, repack, p);
}

const CudaOp op("bitnet_repack", run);

}  // namespace
}  // namespace fewbit::cuda
