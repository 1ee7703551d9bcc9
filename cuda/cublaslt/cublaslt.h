// cuBLASLt as the ops use it: one product, tuned once per shape.
#pragma once

#include <cuda_runtime.h>
#include <library_types.h>

#include <map>
#include <memory>
#include <tuple>

#include "library.h"

namespace fewbit::cuda {

// D = activation(X W^T + bias), row-major: X [m, k], W [n, k], D [m, n], bias [n] of D's type.
// i8 operands give an i32 D, which takes neither bias nor activation.
//
// transposed: D = alpha X^T W + beta D for X [k, m] and W [k, n].
struct Product {
  int64_t m = 0, n = 0, k = 0;
  bool transposed = false;
  float alpha = 1, beta = 0;  // other than these only for float operands
  cudaDataType_t operand = CUDA_R_16F;
  cudaDataType_t result = CUDA_R_16F;
  bool relu = false;
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* bias = nullptr;
  void* out = nullptr;
  // Elements from one row to the next; 0: the rows touch.
  int64_t x_stride = 0, weight_stride = 0, out_stride = 0;
};

// One handle with its workspace and the algorithms chosen so far. It belongs to one Context.
class CublasLt {
 public:
  // Null when the library is absent or its version unknown. Throws when it cannot start.
  static std::shared_ptr<CublasLt> create();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // Times the library's candidates on the product's own buffers and keeps the fastest. Not to be
  // called during a capture, nor with a beta. Does nothing for a shape that was timed before.
  void prepare(const Product& product, cudaStream_t stream);

  // Enqueues the product with the algorithm of prepare(), or else with the first suggestion. False
  // when the library has none for this shape and device; nothing was enqueued then.
  bool run(const Product& product, cudaStream_t stream);

 private:
  // m, n, k, transposed, strides of x, weight and out, operand, result, epilogue, alignments of x,
  // weight and out
  using Key = std::tuple<int64_t, int64_t, int64_t, bool, int64_t, int64_t, int64_t, int, int,
                         uint32_t, int, int, int>;
  struct Choice {
    lt::Algorithm algorithm;
    size_t workspace_bytes;
    bool supported;
    bool timed;
  };
  class Descriptors;

  CublasLt(const lt::Functions& functions, lt::Handle handle, void* workspace);
  static Key key_of(const Product& product);
  int suggest(const Product& product, const Descriptors& descriptors, lt::HeuristicResult* results,
              int capacity) const;
  lt::Status enqueue(const Product& product, const Descriptors& descriptors,
                     const lt::Algorithm& algorithm, size_t workspace_bytes,
                     cudaStream_t stream) const;
  float time(const Product& product, const Descriptors& descriptors,
             const lt::HeuristicResult& candidate, cudaStream_t stream) const;

  const lt::Functions& functions_;
  lt::Handle handle_;
  void* workspace_;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t end_ = nullptr;
  std::map<Key, Choice> choices_;
};

}  // namespace fewbit::cuda
