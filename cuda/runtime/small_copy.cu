#include "small_copy.h"

#include <cstdint>

#include "../common/launch.h"

namespace fewbit::cuda {

namespace {

constexpr unsigned kThreads = 128;
constexpr size_t kMaxBytes = 4096;

__global__ void __launch_bounds__(kThreads)
    copy_words(uint32_t* to, const uint32_t* from, unsigned words) {
  for (unsigned i = threadIdx.x; i < words; i += kThreads) to[i] = from[i];
}

bool is_word_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(uint32_t) == 0;
}

}  // namespace

bool copy_small(void* host, const void* device, size_t bytes, Context& context) {
  if (bytes > kMaxBytes || bytes % sizeof(uint32_t) != 0) return false;
  if (!is_word_aligned(host) || !is_word_aligned(device)) return false;
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, host) != cudaSuccess) {
    (void)cudaGetLastError();
    return false;
  }
  if (attributes.type != cudaMemoryTypeHost || !attributes.devicePointer) return false;
  launch({.name = "copying to the host", .block = dim3(kThreads)}, context, copy_words,
         static_cast<uint32_t*>(attributes.devicePointer), static_cast<const uint32_t*>(device),
         static_cast<unsigned>(bytes / sizeof(uint32_t)));
  return true;
}

}  // namespace fewbit::cuda
