// Where each short-lived tensor of a program goes in one shared block of memory.
#pragma once

#include <cstddef>
#include <vector>

namespace fewbit {

// A tensor's bytes, and the first and last op that touch it (inclusive).
struct Lifetime {
  size_t bytes;
  int first;
  int last;
};

struct Plan {
  std::vector<size_t> offsets;  // one per lifetime, multiples of kArenaAlignment
  size_t bytes = 0;             // of the whole block
};

constexpr size_t kArenaAlignment = 256;

// Lifetimes that overlap get disjoint places. Largest first, each at the lowest offset that is free for
// as long as it lives.
Plan plan_memory(const std::vector<Lifetime>& lifetimes);

}  // namespace fewbit
