// Writing the words of ops/bitnet_layout.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "../ops/bitnet_layout.h"

namespace fewbit::cpu {

// Packs k codes (code_at(column) is 0, 1 or 2) into a row, and zeros behind them.
template <class CodeAt>
void pack_ternary_row(int64_t k, char* row, const CodeAt& code_at) {
  constexpr int64_t kPerWord = 16;
  for (int64_t begin = 0; begin < ops::bitnet::padded(k); begin += kPerWord) {
    uint32_t word = ops::bitnet::kZeroWord;
    const int64_t count = std::min(kPerWord, k - begin);
    for (int i = 0; i < count; ++i) {
      const int shift = ops::bitnet::field_shift(i);
      word = (word & ~(3u << shift)) | static_cast<uint32_t>(code_at(begin + i)) << shift;
    }
    std::memcpy(row + begin / 4, &word, sizeof word);
  }
}

}  // namespace fewbit::cpu
