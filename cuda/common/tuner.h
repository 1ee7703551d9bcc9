// Choosing among variants of a kernel by timing them, once per shape.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace fewbit::cuda {

struct Context;

class Tuner {
 public:
  // The op and its shape; unused places are 0.
  using Key = std::array<int64_t, 5>;

  // The variant chosen before, or fallback.
  int choice(const Key& key, int fallback) const;

  // Runs each variant a few times with a cold L2 and keeps the fastest, unless the key is known. Not
  // to be called during a capture. Variants must be repeatable.
  void tune(const Key& key, const std::vector<int>& variants,
            const std::function<void(int variant)>& run, Context& context);

 private:
  std::map<Key, int> chosen_;
};

}  // namespace fewbit::cuda
