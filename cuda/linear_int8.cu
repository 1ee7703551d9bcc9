// The matrix product of LLM.int8(): checks a call and chooses how to compute it.
#include "../src/ops/linear_int8.h"

#include <algorithm>

#include "common/aligned.h"
#include "common/cuda_op.h"
#include "cublaslt/cublaslt.h"
#include "int8/linear_int8.h"
#include "int8/product.cuh"

namespace fewbit::cuda {

namespace {

using namespace ops::linear_int8;

// Which kernel computes a product follows from its shape and the device alone: kernels differ in the
// last bit of the outlier part, and a call must give the same result eagerly and in a graph. Only
// the fused kernel's tile shape, which changes no bit, is chosen by timing.
enum class Way { Gemv, Bulk, Streaming, Fused, Library };
constexpr int64_t kMaxStreamRows = 16;
constexpr int64_t kMaxStreamRowsUnfused = 64;  // then a library product with an epilogue is faster
// Without bulk copies, and with weights so large that little is left to hide, one row goes fastest by
// dot products, if rows of the weight are long enough for a block's loads.
constexpr int64_t kGemvBytes = int64_t{64} << 20;
constexpr int64_t kGemvDepth = 16384;

// From so many rows on, packing many outliers pays for the two launches that it takes.
constexpr int64_t kMinPackedRows = 512;

// int32 sums that exist at a time: few enough to stay partly in L2, many enough to fill the GPU.
constexpr int64_t kMaxSumBytes = int64_t{96} << 20;
constexpr int64_t kRowMultiple = 256;

int8::FloatTensor float_tensor(const TensorView& view) {
  if (!view) return {};
  if (!is_float(view.dtype)) {
    throw Error("ERR_FEWBIT_DTYPE", std::string("linear_int8: bias, x and kept must be float "
                                                "tensors, not ") +
                                        name_of(view.dtype));
  }
  return {view.data, view.dtype};
}

int8::Product product_of(const OpCall& call, const Context& context) {
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
  p.settled =
      !context.recent_writes.touched(p.weight, static_cast<size_t>(p.weight_rows * p.depth));
  p.bitsandbytes = call.attrs[mode] == 1;
  if (call[columns]) {
    if (call[x].dtype != DType::F16 && call[x].dtype != DType::BF16) {
      throw Error("ERR_FEWBIT_DTYPE", std::string("linear_int8: x must be f16 or bf16 on CUDA, "
                                                  "not ") +
                                          name_of(call[x].dtype) + ": cast it first");
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

Way way_of(int64_t rows, int64_t weight_rows, int64_t depth, const Context& context) {
  const int64_t weight_bytes = weight_rows * depth;
  if (int8::bulk_fits(rows, context)) return Way::Bulk;
  if (rows == 1 && weight_bytes >= kGemvBytes && depth >= kGemvDepth) return Way::Gemv;
  if (rows <= kMaxStreamRows) return Way::Streaming;
  if (int8::fused_available(context)) return Way::Fused;
  return rows > kMaxStreamRowsUnfused && context.cublaslt ? Way::Library : Way::Streaming;
}

Way way_of(const int8::Product& p, const Context& context) {
  return way_of(p.rows, p.weight_rows, p.depth, context);
}

Tuner::Key key_of(const int8::Product& p) {
  return {static_cast<int64_t>(DType::I8), p.rows, p.weight_rows, p.depth, 0};
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
  const Way way = way_of(rows, weight_rows, call[weight].shape[1], context);
  if (way == Way::Fused && rows >= kMinPackedRows && call[columns]) {
    return int8::PackedOutliers::bytes(rows, call[out].cols());
  }
  if (way != Way::Library) return 0;
  return static_cast<size_t>(chunk_rows(rows, weight_rows) * weight_rows) * sizeof(int32_t);
}

void prepare(const OpCall& call, Context& context) {
  const int8::Product p = product_of(call, context);
  if (p.rows == 0 || p.columns == 0) return;
  const Way way = way_of(p, context);
  if (way == Way::Fused) {
    // The list of outliers may not have been computed yet.
    int8::Product timed = p;
    timed.outliers = nullptr;
    timed.settled = true;  // timings are far enough apart
    context.tuner.tune(
        key_of(p), int8::fused_variants(p, context),
        [&](int variant) { int8::multiply_fused(timed, variant, context); }, context);
  } else if (way == Way::Library) {
    for_each_chunk(p, call.workspace, [&](const Product& product, int64_t) {
      context.cublaslt->prepare(product, context.stream);
    });
  }
}

// False when the library has nothing for this shape.
bool multiply_by_library(const int8::Product& p, void* sums, Context& context) {
  bool supported = true;
  for_each_chunk(p, sums, [&](const Product& product, int64_t first) {
    supported = supported && context.cublaslt->run(product, context.stream);
    if (supported) {
      int8::dequantize(p, static_cast<const int32_t*>(sums), first, product.m, context);
    }
  });
  return supported;
}

void multiply_fused(int8::Product p, void* workspace, Context& context) {
  if (workspace) p.packed = int8::PackedOutliers::at(workspace, p.rows);
  if (p.packed) int8::pack_outliers(p, context);
  const int variant = context.tuner.choice(key_of(p), int8::suggest_fused_variant(p, context));
  int8::multiply_fused(p, variant, context);
  if (p.packed) int8::add_packed_outliers(p, context);
}

void run(const OpCall& call, Context& context) {
  const int8::Product p = product_of(call, context);
  if (p.rows == 0 || p.columns == 0) return;
  require_aligned("linear_int8", "codes", call[codes]);
  require_aligned("linear_int8", "weight", call[weight]);
  switch (way_of(p, context)) {
    case Way::Gemv:
      return int8::multiply_by_gemv(p, context);
    case Way::Bulk:
      return int8::multiply_bulk(p, context);
    case Way::Fused:
      return multiply_fused(p, call.workspace, context);
    case Way::Library:
      if (multiply_by_library(p, call.workspace, context)) return;
      break;
    case Way::Streaming:
      break;
  }
  int8::multiply_streaming(p, context);
}

const CudaOp op("linear_int8", run, workspace, prepare);

}  // namespace

}  // namespace fewbit::cuda
