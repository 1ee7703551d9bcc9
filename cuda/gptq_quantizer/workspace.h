// Arrays one after the other in a workspace.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fewbit::cuda::gptq_quantizer {

class WorkspaceLayout {
 public:
  // base may be null when only the size is wanted.
  explicit WorkspaceLayout(void* base) : base_(reinterpret_cast<uintptr_t>(base)) {}

  // The next array, 256-byte aligned if base is.
  template <class T>
  void place(T*& array, int64_t count) {
    array = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
  }
  size_t bytes() const { return bytes_; }

 private:
  uintptr_t base_;
  size_t bytes_ = 0;
};

}  // namespace fewbit::cuda::gptq_quantizer
