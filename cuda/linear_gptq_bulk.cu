// linear_gptq of 2 and 3 bits for one row on sm_90: the layout of bulk_matmul, and its launch.
#include <algorithm>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "gptq/bulk_matmul.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

constexpr int64_t kFullSharedBytes = 224 * 1024;
// Two blocks of this size fit a multiprocessor.
constexpr int64_t kHalfSharedBytes = 112 * 1024;
constexpr int kMinStages = 3;  // fewer would leave the memory system idle between stages

int64_t divide_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

int64_t stage_bytes(int bits) {
  return bits == 2 ? BulkSlice<2>::kStageBytes : BulkSlice<3>::kStageBytes;
}

// Two blocks to a multiprocessor keep it busy. Where x and the grids of a tile take most of a half of its
// memory, one is faster.
int64_t blocks_of(const LinearGptq& linear, const Context& context) {
  constexpr int64_t kLongRow = 16384;
  const Weight& w = linear.weight;
  return std::min<int64_t>(
      context.properties.multiProcessorCount * (w.positions <= kLongRow ? 2 : 1),
      w.rows / kBulkTile);
}

struct Layout {
  BulkPlan plan;
  int64_t bytes;
};

Layout layout_of(const LinearGptq& linear, int64_t stages) {
  const Weight& w = linear.weight;
  const int64_t slices = divide_up(w.positions, kSlice),
                pieces = divide_up(w.positions, kBulkPiece);
  const int64_t slots = divide_up(stages - 1, slices) + 1;
  const int64_t scales = kBulkTile * w.groups * 2, zeros = kBulkTile * w.groups;
  const int64_t grids = pieces * kGridStride * 4;
  const int64_t sums = kBulkWarps * kBulkTile * 4;
  Layout layout;
  layout.plan.stages = static_cast<int>(stages);
  layout.plan.slots = static_cast<int>(slots);
  layout.plan.scales_bytes = static_cast<int>(scales);
  layout.plan.zeros_bytes = static_cast<int>(zeros);
  layout.plan.pieces = static_cast<int>(pieces);
  layout.plan.slices = static_cast<int>(slices);
  layout.bytes = 1024 + static_cast<int64_t>(sizeof(BulkShared)) + stages * stage_bytes(w.bits) +
                 slots * (scales + zeros + grids + sums) + pieces * (kBulkPiece * 2 + 4);
  return layout;
}

// As many stages as fit in half of a multiprocessor's shared memory, or in all of it where that would
// be too few; 0 where none of this fits.
int64_t stages_of(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const int64_t most =
      divide_up(w.rows / kBulkTile, blocks_of(linear, context)) * divide_up(w.positions, kSlice);
  for (const int64_t limit : {kHalfSharedBytes, kFullSharedBytes}) {
    int64_t stages = std::min<int64_t>(kMaxStages, most);
    while (stages > 0 && layout_of(linear, stages).bytes > limit) --stages;
    if (stages >= std::min<int64_t>(kMinStages, most)) return stages;
  }
  return 0;
}

bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

template <class T, int Bits>
void launch_bulk(const LinearGptq& linear, Context& context) {
  const Weight& w = linear.weight;
  const Layout layout = layout_of(linear, stages_of(linear, context));
  const auto kernel = bulk_matmul<T, Bits>;
  // A multiprocessor runs blocks of two kernels at a time only if both divide its memory alike.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_gptq");
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>(blocks_of(linear, context)));
  config.block = dim3(kBulkThreads);
  config.shared_bytes = static_cast<size_t>(layout.bytes);
  config.overlap = is_captured(context);
  const float to_group =
      w.groups <= 1 ? 0.0f : static_cast<float>(kBulkPiece) / static_cast<float>(w.group_size);
  const CUtensorMap low_map =
      byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)), kBulkTile);
  const CUtensorMap high_map =
      Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1), kBulkTile) : low_map;
  launch(config, context, kernel, low_map, high_map, linear, layout.plan, to_group);
}

}  // namespace

bool bulk_fits(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const bool rows_fit = w.row_bytes(plane_width(w.bits)) % 16 == 0 && w.rows % kBulkTile == 0 &&
                        (w.bits != 3 || w.row_bytes(1) % 16 == 0);
  const bool groups_fit = w.groups == 1 || w.group_size % kBulkPiece == 0;
  const bool aligned = is_aligned(w.codes) && is_aligned(w.high) && is_aligned(w.scales) &&
                       is_aligned(w.zeros) && linear.depth % 8 == 0;
  return context.properties.major >= 9 && w.bits <= 3 && linear.rows == 1 && w.positions > 0 &&
         w.scales_dtype != DType::F32 && w.rows >= kBulkTile && rows_fit && groups_fit && aligned &&
         stages_of(linear, context) > 0;
}

void multiply_bulk(const LinearGptq& linear, Context& context) {
  with_half(linear.dtype, "linear_gptq: x", [&](auto zero) {
    using T = decltype(zero);
    linear.weight.bits == 2 ? launch_bulk<T, 2>(linear, context)
                            : launch_bulk<T, 3>(linear, context);
  });
}

}  // namespace fewbit::cuda::gptq
