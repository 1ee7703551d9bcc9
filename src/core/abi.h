// What crosses between the addon and a back-end library: plain data, one call per op.
#pragma once

#include "dtype.h"

namespace fewbit {

constexpr uint32_t kAbiVersion = 1;
constexpr int kMaxRank = 4;
constexpr int kMaxTensors = 16;
constexpr int kMaxAttrs = 8;

// A typed window on device memory. Strides count elements; the last one is always 1.
// An optional tensor that was left out has data == nullptr and rank == -1.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::F32;
  int32_t rank = -1;
  int64_t shape[kMaxRank] = {};
  int64_t stride[kMaxRank] = {};

  explicit operator bool() const { return rank >= 0; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  // Rows of a matrix whose rows may be spaced apart (a column slice of a wider one).
  int64_t rows() const {
    int64_t n = 1;
    for (int i = 0; i < rank - 1; ++i) n *= shape[i];
    return n;
  }
  int64_t cols() const { return rank >= 1 ? shape[rank - 1] : 1; }
  int64_t row_stride() const { return rank >= 2 ? stride[rank - 2] : cols(); }
  bool contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
};

// One invocation. Tensors and attributes stand in the order of the op's declaration in src/ops.
// The workspace is 256-byte aligned and holds at least what the back end asked for this call.
struct OpCall {
  TensorView tensors[kMaxTensors];
  double attrs[kMaxAttrs] = {};
  void* workspace = nullptr;
  size_t workspace_bytes = 0;

  const TensorView& operator[](int index) const { return tensors[index]; }
};

}  // namespace fewbit
