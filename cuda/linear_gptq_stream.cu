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

std::vector<int> stream_variants(const LinearGptq& linear) {
  if (!is_coarse(linear.weight) || linear.rows > 16) return {kMany};
  if (linear.rows > 8) return {kPairTall, kPairDeep};
  return {kDeep, kCrowded, kTall};
}

int suggest_stream_variant(const LinearGptq& linear) {
  return linear.rows > 16 ? kMany : linear.rows > 8 ? kPairTall : kCrowded;
}

void multiply_streaming(const LinearGptq& linear, int variant, Context& context) {
  if (linear.dtype == DType::BF16) return launch_stream_bf16(linear, variant, context);
  launch_stream_of<__half>(linear, variant, context);
}

}  // namespace fewbit::cuda::gptq
