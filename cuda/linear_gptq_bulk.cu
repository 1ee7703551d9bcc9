// linear_gptq of up to 4 bits for one row on sm_90: the layout of bulk_matmul, and its launch.
#include <algorithm>

#include "common/launch.h"
#include "common/tensor_map.h"
#include "gptq/bulk_matmul.cuh"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda::gptq {

namespace {

// Beyond this x and the grids of a tile leave too little of half a multiprocessor's memory to codes.
constexpr int64_t kLongRow = 8192;
// Beyond this there is no room for enough codes of 4 bits under way: other kernels are as fast.
constexpr int64_t kLongestRowOfFourBits = 16384;

// Two blocks of this size fit a multiprocessor, with what the system reserves for each.
constexpr int64_t kHalfSharedBytes = 113 * 1024;
constexpr int kMinStages = 3;  // fewer would leave the memory system idle between stages

// Two blocks share a multiprocessor, or one of twice the size has it.
constexpr int kWarps = 8, kManyWarps = 16;

int64_t divide_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

bool is_long(const LinearGptq& linear) { return linear.weight.positions > kLongRow; }

template <int Warps>
int64_t stage_bytes(int bits) {
  return bits == 2   ? BulkSlice<2, Warps>::kStageBytes
         : bits == 3 ? BulkSlice<3, Warps>::kStageBytes
                     : BulkSlice<4, Warps>::kStageBytes;
}

struct Layout {
  BulkPlan plan;
  int64_t bytes;
};

template <int Warps>
Layout layout_of(const LinearGptq& linear, int64_t stages, int64_t fetched) {
  const Weight& w = linear.weight;
  const int64_t slices = divide_up(w.positions, BulkSlice<2, Warps>::kPositions),
                pieces = divide_up(w.positions, kBulkPiece);
  const int64_t slots = divide_up(stages - 1, slices) + 1;
  const int64_t scales = kBulkTile * w.groups * 2, zeros = kBulkTile * w.groups;
  const int64_t grids = slices * BulkSlice<2, Warps>::kPieces * kGridStride * 4;
  const int64_t sums = Warps * kBulkTile * 4;
  Layout layout;
  layout.plan.stages = static_cast<int>(stages);
  // What takes as long as x to come. With more, x would come late; with less, codes of 4 bits.
  layout.plan.early = w.bits == 4 ? 2 : 1;
  layout.plan.slots = static_cast<int>(slots);
  layout.plan.fetched = static_cast<int>(fetched);
  layout.plan.scales_bytes = static_cast<int>(scales);
  layout.plan.zeros_bytes = static_cast<int>(zeros);
  layout.plan.pieces = static_cast<int>(pieces);
  layout.plan.slices = static_cast<int>(slices);
  layout.bytes = stages * stage_bytes<Warps>(w.bits) + static_cast<int64_t>(sizeof(BulkShared)) +
                 fetched * (scales + zeros) +
                 slices * Warps * static_cast<int64_t>(kLimbWords * 4 + 4 * sizeof(LimbColumns)) +
                 slots * (grids + sums);
  return layout;
}

// As many as there is room for. With fewer, which let the next product's blocks stand ready beside
// them, products alone went faster, but decoding by a fifth slower.
int64_t blocks_of(const LinearGptq& linear, const Context& context) {
  return std::min<int64_t>(context.properties.multiProcessorCount * (is_long(linear) ? 1 : 2),
                           linear.weight.rows / kBulkTile);
}

// As many stages as fit, none where these are too few; then the scales of a second tile.
template <int Warps>
Layout best_layout(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const int64_t most = divide_up(w.rows / kBulkTile, blocks_of(linear, context)) *
                       divide_up(w.positions, BulkSlice<2, Warps>::kPositions);
  const auto all = static_cast<int64_t>(context.properties.sharedMemPerBlockOptin);
  const int64_t limit = Warps == kWarps ? std::min(kHalfSharedBytes, all) : all;
  int64_t stages = std::min<int64_t>(kMaxStages, most);
  while (stages > 0 && layout_of<Warps>(linear, stages, 1).bytes > limit) --stages;
  if (stages < std::min<int64_t>(kMinStages, most)) stages = 0;
  const Layout layout = layout_of<Warps>(linear, stages, kMaxFetched);
  return layout.bytes <= limit ? layout : layout_of<Warps>(linear, stages, 1);
}

template <class T, int Bits, int Warps>
void launch_bulk(const LinearGptq& linear, Context& context) {
  const Weight& w = linear.weight;
  const Layout layout = best_layout<Warps>(linear, context);
  const auto kernel = bulk_matmul<T, Bits, Warps>;
  // A multiprocessor runs blocks of two kernels at a time only if both divide its memory alike.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_gptq");
  Launch config;
  config.name = "linear_gptq";
  config.grid = dim3(static_cast<unsigned>(blocks_of(linear, context)));
  config.block = dim3(bulk_threads(Warps));
  config.shared_bytes = static_cast<size_t>(layout.bytes);
  config.overlap = is_captured(context);
  const CUtensorMap low_map =
      byte_matrix_map(w.codes, w.rows, w.row_bytes(plane_width(Bits)), kBulkTile);
  const CUtensorMap high_map =
      Bits == 3 ? byte_matrix_map(w.high, w.rows, w.row_bytes(1), kBulkTile) : low_map;
  launch(config, context, kernel, low_map, high_map, linear, layout.plan, w.to_group(kBulkPiece));
}

template <class T, int Bits>
void launch_for_length(const LinearGptq& linear, Context& context) {
  is_long(linear) ? launch_bulk<T, Bits, kManyWarps>(linear, context)
                  : launch_bulk<T, Bits, kWarps>(linear, context);
}

}  // namespace

bool bulk_fits(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const bool faster = w.bits < 4 || (w.bits == 4 && w.positions <= kLongestRowOfFourBits);
  return context.properties.major >= 9 && faster && linear.rows == 1 && bulk_copies_fit(linear) &&
         (is_long(linear) ? best_layout<kManyWarps>(linear, context)
                          : best_layout<kWarps>(linear, context))
                 .plan.stages > 0;
}

void multiply_bulk(const LinearGptq& linear, Context& context) {
  with_half(linear.dtype, "linear_gptq: x", [&](auto zero) {
    using T = decltype(zero);
    switch (linear.weight.bits) {
      case 2:
        return launch_for_length<T, 2>(linear, context);
      case 3:
        return launch_for_length<T, 3>(linear, context);
      default:
        return launch_for_length<T, 4>(linear, context);
    }
  });
}

}  // namespace fewbit::cuda::gptq
