// linear_gptq for few rows: codes straight from memory into the tensor cores.
#include "gptq/stream_launch.cuh"

namespace fewbit::cuda::gptq {

bool stream_fits(const LinearGptq& linear, const Context& context) {
  const Weight& w = linear.weight;
  const bool groups_fit = w.groups <= 1 || w.group_size % kChunk == 0;
  const size_t shared = is_coarse(w) ? StreamShape<__half, 2, 8, false>::shared_bytes(w.positions)
                                     : StreamShape<__half, 2, 8, true>::shared_bytes(w.positions);
  return groups_fit && shared <= context.properties.sharedMemPerBlockOptin && linear.depth % 8 == 0;
}

namespace {

// Blocks in whole rounds, over all the places that those rounds have: how evenly a variant's blocks
// fall on the multiprocessors.
double evenness(const LinearGptq& linear, int columns, int resident, const Context& context) {
  const int64_t blocks = (linear.weight.rows + columns - 1) / columns;
  const int64_t places = int64_t{resident} * context.properties.multiProcessorCount;
  return static_cast<double>(blocks) / static_cast<double>((blocks + places - 1) / places * places);
}

}  // namespace

// Timed on weights that stay in the second-level cache, a variant that loses with cold ones may win; so
// the choice is made from what tells them apart when they are cold.
int stream_variant(const LinearGptq& linear, const Context& context) {
  constexpr int64_t kFewOutputs = 6144;
  if (!is_coarse(linear.weight) || linear.rows > 16) return kMany;
  if (linear.rows > 8) return linear.weight.rows <= kFewOutputs ? kPairDeep : kPairTall;
  constexpr double kDeepShare = 0.85;  // of what others reach where all are even
  const int crowd = crowd_of(linear.weight.bits);
  int best = kCrowded;
  double most = evenness(linear, 16, crowd, context);
  const auto consider = [&](int variant, double even) {
    if (even <= most) return;
    most = even;
    best = variant;
  };
  // Tall blocks of bytes have too few loads under way.
  if (linear.weight.bits < 8) consider(kTall, evenness(linear, 32, crowd - 1, context));
  consider(kDeep, kDeepShare * evenness(linear, 16, 2, context));
  return best;
}

void multiply_streaming(const LinearGptq& linear, int variant, Context& context) {
  if (linear.dtype == DType::BF16) return launch_stream_bf16(linear, variant, context);
  launch_stream_of<__half>(linear, variant, context);
}

}  // namespace fewbit::cuda::gptq
