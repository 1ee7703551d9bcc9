// The matrix product of LLM.int8(): checks a call and chooses how to compute it.
#include "../src/ops/linear_int8.h"

#include <algorithm>
#include <vector>

#include "common/cuda_op.h"
#include "cublaslt/cublaslt.h"
#include "int8/linear_int8.h"
#include "int8/product.cuh"

namespace fewbit::cuda {

namespace {

using namespace ops::linear_int8;

// Where the fused kernel is not available: up to this many rows streaming beats a library product
// with a separate epilogue.
constexpr int64_t kMaxStreamRows = 64;
// From here on the fused kernel's tiles are worth a try beside the ring.
constexpr int64_t kMinFusedRows = 9;
constexpr int64_t kMaxRingRows = 16;
// Variants beside those of the fused kernel, which count from 0.
constexpr int kRing = -1;
constexpr int kGemv = -2;
constexpr int64_t kMaxGemvRows = 4;
// int32 sums that exist at a time: few enough to stay partly in L2, many enough to fill the GPU.
constexpr int64_t kMaxSumBytes = int64_t{96} << 20;
constexpr int64_t kRowMultiple = 256;

int8::FloatTensor float_tensor(const TensorView& view) {
  if (!view) return {};
  if (!is_float(view.dtype)) {
    throw Error("ERR_FEWBIT_DTYPE", std::string("linear_int8: bias, x and kept must be float "
                                                "tensors, not ") + name_of(view.dtype));
  }
  return {view.data, view.dtype};
}

int8::Product product_of(const OpCall& call) {
  int8::Product p{};
  p.codes = call[codes].as<int8_t>();
  p.scales = call[scales].as<float>();
  p.weight = call[weight].as<int8_t>();
  p.weight_scales = call[weight_scales].as<float>();
  p.bias = float_tensor(call[bias]);
  p.rows = call[out].rows();
  p.columns = call[out].cols();
  p.weight_rows = call[weight].shape[0];
  p.depth = call[weight].shape[1];
  p.bitsandbytes = call.attrs[mode] == 1;
  if (call[columns]) {
    if (call[x].dtype != DType::F16 && call[x].dtype != DType::BF16) {
      throw Error("ERR_FEWBIT_DTYPE", std::string("linear_int8: x must be f16 or bf16 on CUDA, "
                                                  "not ") + name_of(call[x].dtype) +
                                          ": cast it first");
    }
    p.outliers = call[columns].as<int32_t>();
    p.outlier_count = call[count].as<int32_t>();
    p.x = float_tensor(call[x]);
    p.x_columns = call[x].cols();
    if (call[kept] && !p.bitsandbytes) {
      p.kept_slots = call[kept_slots].as<int32_t>();
      p.kept = float_tensor(call[kept]);
    }
  }
  p.out = call[out].data;
  p.out_dtype = call[out].dtype;
  p.activation = static_cast<Activation>(static_cast<int>(call.attrs[activation]));
  p.rounding = p.out_dtype == DType::F32 ? DType::F16 : p.out_dtype;
  return p;
}

// Rows whose int32 sums are computed at a time.
int64_t chunk_rows(int64_t rows, int64_t weight_rows) {
  const int64_t fitting = kMaxSumBytes / (weight_rows * 4) / kRowMultiple * kRowMultiple;
  return std::min(rows, std::max(fitting, kRowMultiple));
}

bool by_fused(int64_t rows, const Context& context) {
  return rows >= kMinFusedRows && int8::fused_available(context);
}

bool by_library(int64_t rows, const Context& context) {
  return rows > kMaxStreamRows && context.cublaslt && !by_fused(rows, context);
}

Tuner::Key key_of(const int8::Product& p) { return {8, p.rows, p.weight_rows, p.depth, 0}; }

// The variants worth timing for a product that the library does not compute.
std::vector<int> variants_of(const int8::Product& p, const Context& context) {
  std::vector<int> variants;
  if (p.rows <= kMaxRingRows) variants.push_back(kRing);
  if (p.rows <= kMaxGemvRows) variants.push_back(kGemv);
  for (int i = 0; by_fused(p.rows, context) && i < int8::fused_variants(); ++i) {
    if (int8::fused_variant_fits(p, i)) variants.push_back(i);
  }
  return variants;
}

int suggest_variant(const int8::Product& p, const Context& context) {
  return p.rows <= kMaxRingRows ? kRing : int8::suggest_fused_variant(p, context);
}

void run_variant(const int8::Product& p, int variant, Context& context) {
  switch (variant) {
    case kGemv:
      return int8::multiply_by_gemv(p, context);
    case kRing:
      if (!int8::multiply_ring(p, context)) int8::multiply_streaming(p, context);
      return;
    default:
      int8::multiply_fused(p, variant, context);
  }
}

template <class Visit>
void for_each_chunk(const int8::Product& p, void* sums, Visit visit) {
  const int64_t step = chunk_rows(p.rows, p.weight_rows);
  for (int64_t first = 0; first < p.rows; first += step) {
    const int64_t rows = std::min(step, p.rows - first);
    Product product;
    product.m = rows;
    product.n = p.weight_rows;
    product.k = p.depth;
    product.operand = CUDA_R_8I;
    product.result = CUDA_R_32I;
    product.x = p.codes + first * p.depth;
    product.weight = p.weight;
    product.out = sums;
    visit(product, first);
  }
}

size_t workspace(const OpCall& call, Context& context) {
  const int64_t rows = call[out].rows(), weight_rows = call[weight].shape[0];
  if (!by_library(rows, context)) return 0;
  return static_cast<size_t>(chunk_rows(rows, weight_rows) * weight_rows) * sizeof(int32_t);
}

void prepare(const OpCall& call, Context& context) {
  const int8::Product p = product_of(call);
  if (p.rows == 0 || p.columns == 0) return;
  context.tuner.tune(
      key_of(p), variants_of(p, context),
      [&](int variant) { run_variant(p, variant, context); }, context);
  if (!by_library(p.rows, context)) return;
  for_each_chunk(p, call.workspace, [&](const Product& product, int64_t) {
    context.cublaslt->prepare(product, context.stream);
  });
}

void run(const OpCall& call, Context& context) {
  const int8::Product p = product_of(call);
  if (p.rows == 0 || p.columns == 0) return;
  if (p.rows <= kMaxRingRows || by_fused(p.rows, context)) {
    const int variant = context.tuner.choice(key_of(p), suggest_variant(p, context));
    return run_variant(p, variant, context);
  }
  if (!by_library(p.rows, context)) return int8::multiply_streaming(p, context);
  bool supported = true;
  for_each_chunk(p, call.workspace, [&](const Product& product, int64_t first) {
    if (!supported || !(supported = context.cublaslt->run(product, context.stream))) return;
    int8::dequantize(p, static_cast<const int32_t*>(call.workspace), first, product.m, context);
  });
  if (!supported) int8::multiply_streaming(p, context);
}

const CudaOp op("linear_int8", run, workspace, prepare);

}  // namespace

}  // namespace fewbit::cuda
