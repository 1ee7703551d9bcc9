// How CPU ops split their work.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../core/thread_pool.h"

namespace fewbit::cpu {

// Elements that are worth handing to another thread.
constexpr int64_t kGrainElements = 16384;

// Rows of so many columns that make up one piece of work.
inline int64_t row_grain(int64_t cols) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(cols, 1));
}

}  // namespace fewbit::cpu
