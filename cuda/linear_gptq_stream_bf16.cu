// linear_gptq for few rows in bf16; a file of its own so that both types compile side by side.
#include "gptq/stream_launch.cuh"

namespace fewbit::cuda::gptq {

void launch_stream_bf16(const LinearGptq& linear, int variant, Context& context) {
  launch_stream_of<__nv_bfloat16>(linear, variant, context);
}

}  // namespace fewbit::cuda::gptq
