#include "zeroed.h"

#include "context.h"

namespace fewbit::cuda {

Zeroed::Zeroed(cudaStream_t stream) {
  constexpr size_t kBytes = kWords * sizeof(uint32_t);
  check(cudaMalloc(&words_, kBytes), "allocating the words that blocks share");
  const cudaError_t error = cudaMemsetAsync(words_, 0, kBytes, stream);
  if (error == cudaSuccess) return;
  cudaFree(words_);
  check(error, "clearing the words that blocks share");
}

Zeroed::~Zeroed() { cudaFree(words_); }

}  // namespace fewbit::cuda
