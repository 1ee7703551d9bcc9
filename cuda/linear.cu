// The 16-bit linear: checks a call and chooses how to compute it.
#include "../src/ops/linear.h"

#include "common/cuda_op.h"
#include "cublaslt/cublaslt.h"
#include "linear/linear.h"

namespace fewbit::cuda {

namespace {

using namespace ops::linear;

// Follows from the shape and the device alone, so that a call gives the same result eagerly and in
// a graph.
enum class Way { Gemv, Streaming, Library };
constexpr int64_t kMaxGemvRows = 4;
// Where rows of the weight are short, adding up over lanes takes too much of the time.
constexpr int64_t kMaxGemvRowsOfShort = 2;
constexpr int64_t kShortDepth = 4096;

Linear linear_of(const OpCall& call) {
  const DType dtype = call[x].dtype;
  if (dtype != DType::F16 && dtype != DType::BF16) {
    throw Error("ERR_FEWBIT_DTYPE",
                std::string("linear: x and weight must be f16 or bf16 on CUDA, not ") +
                    name_of(dtype) + ": cast them first");
  }
  if (call[weight].dtype != dtype) {
    throw Error("ERR_FEWBIT_DTYPE", std::string("linear: on CUDA the weight must have the dtype of "
                                                "x (") +
                                        name_of(dtype) + "), not " + name_of(call[weight].dtype));
  }
  Linear linear{};
  linear.dtype = dtype;
  linear.x = call[x].data;
  linear.weight = call[weight].data;
  linear.bias = call[bias] ? call[bias].data : nullptr;
  linear.bias_dtype = call[bias].dtype;
  linear.out = call[out].data;
  linear.out_dtype = call[out].dtype;
  linear.rows = call[x].rows();
  linear.columns = call[weight].shape[0];
  linear.depth = call[x].cols();
  linear.activation = static_cast<int>(call.attrs[activation]);
  linear.vendor_library = call.attrs[vendor_library] != 0;
  return linear;
}

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::F32 ? CUDA_R_32F : dtype == DType::F16 ? CUDA_R_16F : CUDA_R_16BF;
}

// The library rounds its result before a separate bias kernel could add to it, so it gets the bias
// itself where it can, and a 16-bit result with a bias of another dtype goes to our own kernel.
bool library_takes_bias(const Linear& linear) {
  return linear.out_dtype != DType::F32 && linear.bias_dtype == linear.out_dtype;
}

Way way_of(const Linear& linear, const Context& context) {
  const bool whole = !linear.bias || linear.out_dtype == DType::F32 || library_takes_bias(linear);
  const bool library = context.cublaslt && whole;
  if (library && linear.vendor_library) return Way::Library;
  const int64_t gemv_rows = linear.depth < kShortDepth ? kMaxGemvRowsOfShort : kMaxGemvRows;
  if (linear.rows <= gemv_rows && linear_aligned(linear)) return Way::Gemv;
  return library ? Way::Library : Way::Streaming;
}

Product product_of(const Linear& linear) {
  const bool fused = linear.out_dtype != DType::F32;
  Product product;
  product.m = linear.rows;
  product.n = linear.columns;
  product.k = linear.depth;
  product.operand = type_of(linear.dtype);
  product.result = type_of(linear.out_dtype);
  product.relu = fused && linear.activation != 0;
  product.x = linear.x;
  product.weight = linear.weight;
  product.bias = fused ? linear.bias : nullptr;
  product.out = linear.out;
  return product;
}

void prepare(const OpCall& call, Context& context) {
  const Linear linear = linear_of(call);
  if (linear.rows == 0 || linear.columns == 0) return;
  if (way_of(linear, context) == Way::Library) {
    context.cublaslt->prepare(product_of(linear), context.stream);
  }
}

// False when the library has nothing for this shape.
bool linear_by_library(const Linear& linear, Context& context) {
  if (!context.cublaslt->run(product_of(linear), context.stream)) return false;
  const bool unfinished = linear.bias || linear.activation != 0;
  if (linear.out_dtype == DType::F32 && unfinished) add_bias(linear, context);
  return true;
}

void run(const OpCall& call, Context& context) {
  const Linear linear = linear_of(call);
  if (linear.rows == 0 || linear.columns == 0) return;
  switch (way_of(linear, context)) {
    case Way::Gemv:
      return linear_by_gemv(linear, context);
    case Way::Library:
      if (linear_by_library(linear, context)) return;
      break;
    case Way::Streaming:
      break;
  }
  linear_streaming(linear, context);
}

const CudaOp op("linear", run, nullptr, prepare);

}  // namespace

}  // namespace fewbit::cuda
