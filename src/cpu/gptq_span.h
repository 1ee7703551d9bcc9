// A piece of one row of a GPTQ weight, as the inner loops dequantize it.
#pragma once

#include <cstdint>

#include "../ops/gptq_layout.h"  // here, so that it comes before any target pragma

namespace fewbit::cpu {

// Codes as ops/gptq_layout.h packs them, from a position that is a multiple of 32.
struct GptqSpan {
  int bits;
  const uint8_t* low;
  const uint8_t* high;   // of 3 bits, else null
  const float* scales;   // of the first position's group and those behind it
  const uint8_t* zeros;  // likewise
  int64_t count;         // positions, any number: what pads the last 32 is there
  int64_t
      first_group;     // positions that the first group still has, a multiple of 32 unless >= count
  int64_t group_size;  // of the others, likewise
};

}  // namespace fewbit::cpu
