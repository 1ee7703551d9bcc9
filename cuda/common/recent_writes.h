// Which int8 tensors kernels may still be writing.
//
// With Launch::overlap a kernel begins while kernels before it still run. One that reads its weights
// ahead of wait_for_predecessor() relies on them having been there for a while, which is so unless
// they were made a moment ago. Only a few kernels can be under way at a time: a chain of early starts
// ends at the first kernel that starts its successor after its own wait. Copies are no kernels, and
// end before the next one begins.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fewbit::cuda {

class RecentWrites {
 public:
  // Called by every op that writes int8 tensors.
  void add(const void* data, size_t bytes) {
    entries_[next_] = {reinterpret_cast<uintptr_t>(data), bytes};
    next_ = (next_ + 1) % entries_.size();
  }

  bool touched(const void* data, size_t bytes) const {
    const auto begin = reinterpret_cast<uintptr_t>(data);
    for (const Entry& entry : entries_) {
      if (entry.begin < begin + bytes && begin < entry.begin + entry.bytes) return true;
    }
    return false;
  }

 private:
  struct Entry {
    uintptr_t begin = 0;
    size_t bytes = 0;
  };

  std::array<Entry, 16> entries_;
  size_t next_ = 0;
};

}  // namespace fewbit::cuda
