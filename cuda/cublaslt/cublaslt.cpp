#include "cublaslt.h"

#include <algorithm>
#include <string>

#include "../common/context.h"

namespace fewbit::cuda {

namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;
constexpr int kCandidates = 16;
constexpr int kTimings = 3;
constexpr int kMaxAlignment = 256;

int alignment_of(const void* pointer) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer) | kMaxAlignment;
  return static_cast<int>(address & ~(address - 1));
}

uint32_t epilogue_of(const Product& product) {
  if (product.relu) return product.bias ? lt::kEpilogueReluBias : lt::kEpilogueRelu;
  return product.bias ? lt::kEpilogueBias : lt::kEpilogueDefault;
}

}  // namespace

// The library's descriptors of one product. It works column-major, where a row-major matrix is its
// own transpose: D^T [n, m] = W [n, k] X^T [k, m], or W^T [n, k] X [k, m].
class CublasLt::Descriptors {
 public:
  Descriptors(const lt::Functions& functions, const Product& product) : functions_(functions) {
    const bool integer = product.operand == CUDA_R_8I;
    const auto n = static_cast<uint64_t>(product.n), m = static_cast<uint64_t>(product.m);
    const auto k = static_cast<uint64_t>(product.k);
    const bool transposed = product.transposed;
    const auto weight_operation = transposed ? lt::kOperationN : lt::kOperationT;
    const auto x_operation = transposed ? lt::kOperationT : lt::kOperationN;
    const auto create = [&](lt::MatrixLayout& layout, cudaDataType_t type, uint64_t row_elements,
                            uint64_t rows, int64_t stride) {
      return functions.MatrixLayoutCreate(&layout, type, row_elements, rows,
                                          stride ? stride : static_cast<int64_t>(row_elements)) ==
             lt::kSuccess;
    };
    complete_ =
        functions.MatmulDescCreate(&matmul, integer ? lt::kCompute32I : lt::kCompute32F,
                                   integer ? CUDA_R_32I : CUDA_R_32F) == lt::kSuccess &&
        create(weight, product.operand, transposed ? n : k, transposed ? k : n,
               product.weight_stride) &&
        create(x, product.operand, transposed ? m : k, transposed ? k : m, product.x_stride) &&
        create(out, product.result, n, m, product.out_stride) &&
        set(lt::kTransA, int32_t{weight_operation}) && set(lt::kTransB, int32_t{x_operation}) &&
        set(lt::kEpilogue, epilogue_of(product)) &&
        (!product.bias || set(lt::kBiasPointer, product.bias));
  }
  ~Descriptors() {
    if (matmul) functions_.MatmulDescDestroy(matmul);
    for (lt::MatrixLayout layout : {weight, x, out}) {
      if (layout) functions_.MatrixLayoutDestroy(layout);
    }
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  bool complete() const { return complete_; }

  lt::MatmulDesc matmul = nullptr;
  lt::MatrixLayout weight = nullptr;
  lt::MatrixLayout x = nullptr;
  lt::MatrixLayout out = nullptr;

 private:
  template <class T>
  bool set(int attribute, T value) {
    return functions_.MatmulDescSetAttribute(matmul, attribute, &value, sizeof(value)) ==
           lt::kSuccess;
  }

  const lt::Functions& functions_;
  bool complete_ = false;
};

std::shared_ptr<CublasLt> CublasLt::create() {
  const CublasLtLibrary& library = cublaslt_library();
  if (!library.usable) return nullptr;
  void* workspace = nullptr;
  check(cudaMalloc(&workspace, kWorkspaceBytes), "allocating the workspace of cuBLASLt");
  lt::Handle handle = nullptr;
  const lt::Status status = library.functions.Create(&handle);
  if (status != lt::kSuccess) {
    cudaFree(workspace);
    throw Error("ERR_FEWBIT_CUDA", "cublasLtCreate failed with status " + std::to_string(status) +
                                       " (" + library.report +
                                       "): check that the driver is as new as the library");
  }
  return std::shared_ptr<CublasLt>(new CublasLt(library.functions, handle, workspace));
}

CublasLt::CublasLt(const lt::Functions& functions, lt::Handle handle, void* workspace)
    : functions_(functions), handle_(handle), workspace_(workspace) {
  check(cudaEventCreate(&start_), "creating a CUDA event");
  check(cudaEventCreate(&end_), "creating a CUDA event");
}

CublasLt::~CublasLt() {
  functions_.Destroy(handle_);
  cudaFree(workspace_);
  cudaEventDestroy(start_);
  cudaEventDestroy(end_);
}

CublasLt::Key CublasLt::key_of(const Product& product) {
  return {product.m,
          product.n,
          product.k,
          product.transposed,
          product.x_stride,
          product.weight_stride,
          product.out_stride,
          product.operand,
          product.result,
          epilogue_of(product),
          alignment_of(product.x),
          alignment_of(product.weight),
          alignment_of(product.out)};
}

int CublasLt::suggest(const Product& product, const Descriptors& descriptors,
                      lt::HeuristicResult* results, int capacity) const {
  lt::Preference preference = nullptr;
  if (functions_.MatmulPreferenceCreate(&preference) != lt::kSuccess) return 0;
  const auto set = [&](int attribute, auto value) {
    return functions_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)) ==
           lt::kSuccess;
  };
  const auto alignment = [](const void* pointer) {
    return static_cast<uint32_t>(alignment_of(pointer));
  };
  int returned = 0;
  const bool found =
      set(lt::kMaxWorkspaceBytes, uint64_t{kWorkspaceBytes}) &&
      set(lt::kMinAlignmentA, alignment(product.weight)) &&
      set(lt::kMinAlignmentB, alignment(product.x)) &&
      set(lt::kMinAlignmentC, alignment(product.out)) &&
      set(lt::kMinAlignmentD, alignment(product.out)) &&
      functions_.MatmulAlgoGetHeuristic(handle_, descriptors.matmul, descriptors.weight,
                                        descriptors.x, descriptors.out, descriptors.out, preference,
                                        capacity, results, &returned) == lt::kSuccess;
  functions_.MatmulPreferenceDestroy(preference);
  if (!found) return 0;
  return static_cast<int>(std::remove_if(results, results + returned,
                                         [](const lt::HeuristicResult& result) {
                                           return result.state != lt::kSuccess;
                                         }) -
                          results);
}

lt::Status CublasLt::enqueue(const Product& product, const Descriptors& descriptors,
                             const lt::Algorithm& algorithm, size_t workspace_bytes,
                             cudaStream_t stream) const {
  // alpha and beta in the scale type, which is int32 or fp32.
  const int32_t integers[] = {1, 0};
  const float floats[] = {product.alpha, product.beta};
  const bool integer = product.operand == CUDA_R_8I;
  const void* alpha = integer ? static_cast<const void*>(&integers[0]) : &floats[0];
  const void* beta = integer ? static_cast<const void*>(&integers[1]) : &floats[1];
  return functions_.Matmul(handle_, descriptors.matmul, alpha, product.weight, descriptors.weight,
                           product.x, descriptors.x, beta, product.out, descriptors.out,
                           product.out, descriptors.out, &algorithm, workspace_, workspace_bytes,
                           stream);
}

// The best of a few runs in milliseconds, or a negative number when the candidate does not run.
float CublasLt::time(const Product& product, const Descriptors& descriptors,
                     const lt::HeuristicResult& candidate, cudaStream_t stream) const {
  float best = -1.0f;
  for (int i = 0; i <= kTimings; ++i) {
    // In a model the weights come from memory, not from the cache: overwriting the workspace, which
    // is larger than the L2 of most GPUs, evicts them.
    check(cudaMemsetAsync(workspace_, 0, kWorkspaceBytes, stream), "timing cuBLASLt");
    check(cudaEventRecord(start_, stream), "timing cuBLASLt");
    if (enqueue(product, descriptors, candidate.algorithm, candidate.workspace_bytes, stream) !=
        lt::kSuccess) {
      return -1.0f;
    }
    check(cudaEventRecord(end_, stream), "timing cuBLASLt");
    check(cudaEventSynchronize(end_), "timing cuBLASLt");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start_, end_), "timing cuBLASLt");
    if (i > 0 && (best < 0 || milliseconds < best)) best = milliseconds;  // run 0 warms up
  }
  return best;
}

void CublasLt::prepare(const Product& product, cudaStream_t stream) {
  const Key key = key_of(product);
  const auto known = choices_.find(key);
  if (known != choices_.end() && known->second.timed) return;
  const Descriptors descriptors(functions_, product);
  lt::HeuristicResult candidates[kCandidates];
  const int count =
      descriptors.complete() ? suggest(product, descriptors, candidates, kCandidates) : 0;
  Choice choice{{}, 0, false, true};
  float best = 0;
  for (int i = 0; i < count; ++i) {
    const float milliseconds = time(product, descriptors, candidates[i], stream);
    if (milliseconds < 0 || (choice.supported && milliseconds >= best)) continue;
    best = milliseconds;
    choice = {candidates[i].algorithm, candidates[i].workspace_bytes, true, true};
  }
  choices_[key] = choice;
}

bool CublasLt::run(const Product& product, cudaStream_t stream) {
  const Descriptors descriptors(functions_, product);
  if (!descriptors.complete()) return false;
  const Key key = key_of(product);
  auto choice = choices_.find(key);
  if (choice == choices_.end()) {
    lt::HeuristicResult first;
    const bool supported = suggest(product, descriptors, &first, 1) > 0;
    choice = choices_
                 .emplace(key, Choice{supported ? first.algorithm : lt::Algorithm{},
                                      supported ? first.workspace_bytes : 0, supported, false})
                 .first;
  }
  if (!choice->second.supported) return false;
  const lt::Status status = enqueue(product, descriptors, choice->second.algorithm,
                                    choice->second.workspace_bytes, stream);
  if (status == lt::kSuccess) return true;
  choice->second.supported = false;
  check(cudaGetLastError(), "a matrix product of cuBLASLt");
  return false;
}

}  // namespace fewbit::cuda
