// gptq_repack on CUDA: see src/ops/gptq_repack.h.
//
// No kernel here lets a successor begin early: linear_gptq reads codes before it waits.
#include "../src/ops/gptq_repack.h"

#include "common/cuda_op.h"
#include "common/launch.h"

namespace fewbit::cuda {
namespace {

using namespace ops::gptq_repack;
using ops::gptq::field_shift;
using ops::gptq::kAlignment;

constexpr int kThreads = 128;

struct Repack {
  const uint32_t* qweight;
  const uint32_t* qzeros;
  const void* scales;
  const int32_t* order;   // null: 0, 1, 2, ...
  const int32_t* groups;  // likewise
  uint8_t* codes;
  uint8_t* high;
  uint8_t* zeros;
  void* out_scales;
  int64_t columns, depth, positions, code_bytes, high_bytes;  // columns: outputs of the layer
  int group_count, group_rows;                                // of the result, on disk
  int bits;
  bool v1;
};

// Field `index` of a little-endian bit stream whose words are `stride` apart.
__device__ uint32_t field_at(const uint32_t* words, int64_t stride, int64_t index, int width) {
  const int64_t word = index * width / 32;
  const int shift = static_cast<int>(index * width % 32);
  uint32_t value = words[word * stride] >> shift;
  if (shift + width > 32) value |= words[(word + 1) * stride] << (32 - shift);
  return value & ((1u << width) - 1);
}

// A thread packs 32 positions of one output; neighbouring threads have neighbouring outputs, which
// lie side by side on disk. A position outside of the weight counts as padding.
template <int Bits>
__global__ __launch_bounds__(kThreads) void repack_codes(const Repack p) {
  constexpr int kLow = Bits == 3 ? 2 : Bits, kPerWord = 32 / kLow;
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= p.columns) return;
  const int64_t chunks = (p.positions + kAlignment - 1) / kAlignment;
  for (int64_t chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) {
    uint32_t low[kLow] = {}, top = 0;
#pragma unroll
    for (int i = 0; i < kAlignment; ++i) {
      const int64_t position = chunk * kAlignment + i;
      if (position >= p.positions) break;
      const int64_t input = p.order ? p.order[position] : position;
      if (input < 0 || input >= p.depth) continue;
      const uint32_t code = field_at(p.qweight + column, p.columns, input, Bits);
      low[i / kPerWord] |= (code & ((1u << kLow) - 1)) << field_shift(i % kPerWord, kLow);
      if (Bits == 3) top |= code >> 2 << field_shift(i, 1);
    }
    auto* to = reinterpret_cast<uint32_t*>(p.codes + column * p.code_bytes) + chunk * kLow;
#pragma unroll
    for (int i = 0; i < kLow; ++i) to[i] = low[i];
    if (Bits == 3) reinterpret_cast<uint32_t*>(p.high + column * p.high_bytes)[chunk] = top;
  }
}

__device__ uint8_t zero_at(const Repack& p, int64_t group, int64_t column) {
  const int64_t row_words = p.columns * p.bits / 32;
  const uint32_t* row = p.qzeros + group * row_words;
  const uint32_t mask = (1u << p.bits) - 1;
  if (!p.v1) return static_cast<uint8_t>(field_at(row, 1, column, p.bits));
  if (p.bits == 3) return static_cast<uint8_t>((field_at(row, 1, column, p.bits) + 1) & mask);
  const uint32_t ones = 0xffffffffu / mask;  // 1 in every field
  const int per_word = 32 / p.bits;
  const uint32_t word = row[column / per_word] + ones;
  return static_cast<uint8_t>(word >> (column % per_word * p.bits) & mask);
}

template <class Word>
__global__ __launch_bounds__(kThreads) void repack_groups(const Repack p) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= p.columns) return;
  for (int group = static_cast<int>(blockIdx.y); group < p.group_count;
       group += static_cast<int>(gridDim.y)) {
    const int from = p.groups ? p.groups[group] : group;
    const bool inside = from >= 0 && from < p.group_rows;
    const int64_t to = column * p.group_count + group;
    p.zeros[to] = inside ? zero_at(p, from, column) : 0;
    static_cast<Word*>(p.out_scales)[to] =
        inside ? static_cast<const Word*>(p.scales)[from * p.columns + column] : Word{0};
  }
}

dim3 grid_of(int64_t columns, int64_t rows) {
  return dim3(static_cast<unsigned>((columns + kThreads - 1) / kThreads),
              static_cast<unsigned>(std::min<int64_t>(rows, 65535)));
}

void run(const OpCall& call, Context& context) {
  Repack p{};
  p.bits = static_cast<int>(call.attrs[bits]);
  p.v1 = call.attrs[v1] != 0;
  p.qweight = call[qweight].as<uint32_t>();
  p.qzeros = call[qzeros].as<uint32_t>();
  p.scales = call[scales].data;
  p.order = call[order] ? call[order].as<int32_t>() : nullptr;
  p.groups = call[groups] ? call[groups].as<int32_t>() : nullptr;
  p.codes = call[codes].as<uint8_t>();
  p.high = call[high] ? call[high].as<uint8_t>() : nullptr;
  p.zeros = call[zeros].as<uint8_t>();
  p.out_scales = call[out_scales].data;
  p.columns = call[qweight].cols();
  p.depth = call[qweight].rows() * 32 / p.bits;
  p.positions = call[order] ? call[order].elements() : p.depth;
  p.code_bytes = call[codes].cols();
  p.high_bytes = call[high] ? call[high].cols() : 0;
  p.group_count = static_cast<int>(call[zeros].cols());
  p.group_rows = static_cast<int>(call[scales].rows());
  if (p.columns == 0) return;
  Launch config;
  config.name = "gptq_repack";
  config.block = dim3(kThreads);
  config.grid = grid_of(p.columns, (p.positions + kAlignment - 1) / kAlignment);
  const auto kernel = p.bits == 2   ? repack_codes<2>
                      : p.bits == 3 ? repack_codes<3>
                      : p.bits == 4 ? repack_codes<4>
                                    : repack_codes<8>;
  if (p.positions > 0) launch(config, context, kernel, p);
  config.grid = grid_of(p.columns, p.group_count);
  const bool wide = size_of(call[scales].dtype) == sizeof(uint32_t);
  if (p.group_count > 0) {
    launch(config, context, wide ? repack_groups<uint32_t> : repack_groups<uint16_t>, p);
  }
}

const CudaOp op("gptq_repack", run);

}  // namespace
}  // namespace fewbit::cuda
