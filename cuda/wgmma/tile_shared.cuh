// What kernels that multiply tiles keep in shared memory.
#pragma once

#include <cstdint>

namespace fewbit::cuda {

// Stages of what bulk copies bring, at a multiple of 1024 bytes, in whose place f32 sums meet on their way
// out; and the stages' barriers.
template <int Stages, int StageBytes, int Sums>
struct TileShared {
  union {
    unsigned char stages[Stages][StageBytes];
    float sums[Sums];
  };
  uint64_t full[Stages], empty[Stages];
};

}  // namespace fewbit::cuda
