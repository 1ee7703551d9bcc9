// Memory holding 16-bit floats, told apart by type so that loads can be overloaded.
#pragma once

#include <cstdint>

namespace fewbit::cpu::simd {

struct F16 {
  uint16_t bits;
};

struct BF16 {
  uint16_t bits;
};

}  // namespace fewbit::cpu::simd
