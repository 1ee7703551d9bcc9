// Device memory through which the blocks of one kernel talk to each other.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace fewbit::cuda {

// Words that are zero between kernels: whoever uses them puts the zeros back before it ends. Kernels
// of one stream take turns with them, so a context needs only one.
class Zeroed {
 public:
  static constexpr size_t kWords = 16 * 1024;

  // Throws when memory is short. The device is selected; stream orders the clearing before its
  // kernels.
  explicit Zeroed(cudaStream_t stream);
  ~Zeroed();
  Zeroed(const Zeroed&) = delete;
  Zeroed& operator=(const Zeroed&) = delete;

  uint32_t* words() const { return words_; }

 private:
  uint32_t* words_ = nullptr;
};

}  // namespace fewbit::cuda
