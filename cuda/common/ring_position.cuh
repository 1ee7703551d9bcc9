// A place in a ring of stages in shared memory.
#pragma once

#include <cstdint>

namespace fewbit::cuda {

// With the parity of its barriers' phase, which tells two uses of a stage in a row apart, no more: who
// waits for a stage has to wait for every use of it.
struct RingPosition {
  int at = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void step(int size) {
    if (++at == size) {
      at = 0;
      phase ^= 1;
    }
  }
};

}  // namespace fewbit::cuda
