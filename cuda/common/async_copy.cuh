// Copies from global to shared memory in the background, by the threads themselves (sm_80 and later).
#pragma once

#include <cstdint>

namespace fewbit::cuda {

// Bytes (4, 8 or 16, both addresses multiples of it); zeros instead when from is not to be read.
template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool read = true) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(read ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from),
                 "n"(Bytes), "r"(read ? Bytes : 0)
                 : "memory");
  }
}

__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until at most Pending of the thread's committed groups are under way.
template <int Pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace fewbit::cuda
