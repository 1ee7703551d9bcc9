// The decode kernels of codes of 8 bits.
#include "decode_launch.cuh"

namespace fewbit::cuda::kv {

template size_t decode_shared_bytes<8>(const Problem& problem);
template void run_decode<8>(const Problem& problem, const Append& append, Context& context,
                            void* workspace);

}  // namespace fewbit::cuda::kv
