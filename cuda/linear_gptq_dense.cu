#include <algorithm>

#include "common/convert.cuh"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "cublaslt/cublaslt.h"
#include "gptq/dense.h"
#include "linear/linear.h"

namespace fewbit::cuda::gptq {

namespace {

// Weight rows in 16 bits at a time: they stay in L2 from being written to being read on large GPUs,
// and are enough to fill them.
constexpr int64_t kWeightBytes = int64_t{32} << 20;
constexpr int64_t kResultBytes = int64_t{64} << 20;
constexpr int64_t kRowMultiple = 256;
constexpr int kThreads = 256;

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::F32 ? CUDA_R_32F : dtype == DType::F16 ? CUDA_R_16F : CUDA_R_16BF;
}

// Whether the library can write the result itself. It rounds its result before another kernel could
// add to it.
bool is_direct(const LinearGptq& linear, const Context& context) {
  const bool wide = linear.out_dtype == DType::F32;
  const bool plain = !linear.bias && linear.activation == Activation::None;
  const bool epilogue = wide ? plain : !linear.bias || linear.bias_dtype == linear.out_dtype;
  const bool aligned = linear.weight.rows % 8 == 0 && linear.out_stride % 8 == 0;
  return context.cublaslt && epilogue && aligned;
}

int64_t rows_at_a_time(int64_t rows, int64_t bytes_each, int64_t bytes) {
  const int64_t fitting = bytes / std::max<int64_t>(bytes_each, 1) / kRowMultiple * kRowMultiple;
  return std::min(rows, std::clamp<int64_t>(fitting, kRowMultiple, 32768));
}

// Weight rows that are dequantized and multiplied at a time.
int64_t chunk_rows(const LinearGptq& linear, bool direct) {
  const int64_t rows = rows_at_a_time(linear.weight.rows, linear.depth * 2, kWeightBytes);
  return direct ? rows : rows_at_a_time(rows, linear.rows * 4, kResultBytes);
}

size_t weight_bytes(const LinearGptq& linear, int64_t count) {
  return (static_cast<size_t>(count * linear.depth) * 2 + 255) / 256 * 256;
}

__global__ __launch_bounds__(kThreads) void finish_rows(const LinearGptq p, const float* products,
                                                        int64_t first, int64_t count) {
  wait_for_predecessor();
  start_successor();
  const int64_t row = blockIdx.x;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    float value = products[row * count + i];
    if (p.bias) value += load_float(p.bias, p.bias_dtype, first + i);
    store_float(p.out, p.out_dtype, row * p.out_stride + first + i, activate(value, p.activation));
  }
}

Product product_of(const LinearGptq& linear, int64_t first, int64_t count, const void* weight) {
  Product product;
  product.m = linear.rows;
  product.n = count;
  product.k = linear.depth;
  product.operand = type_of(linear.dtype);
  product.result = type_of(linear.out_dtype);
  product.relu = linear.activation != Activation::None;
  product.x = linear.x;
  product.weight = weight;
  product.bias = linear.bias ? static_cast<const char*>(linear.bias) +
                                   first * static_cast<int64_t>(size_of(linear.bias_dtype))
                             : nullptr;
  product.out =
      static_cast<char*>(linear.out) + first * static_cast<int64_t>(size_of(linear.out_dtype));
  product.out_stride = linear.out_stride;
  return product;
}

// The product alone, in f32.
Product plain_product(const LinearGptq& linear, int64_t count, const void* weight, void* to) {
  Product product = product_of(linear, 0, count, weight);
  product.result = CUDA_R_32F;
  product.relu = false;
  product.bias = nullptr;
  product.out = to;
  product.out_stride = 0;
  return product;
}

void multiply_plainly(const LinearGptq& linear, int64_t count, const void* weight, void* to,
                      Context& context) {
  if (context.cublaslt &&
      context.cublaslt->run(plain_product(linear, count, weight, to), context.stream)) {
    return;
  }
  Linear dense{};
  dense.dtype = linear.dtype;
  dense.x = linear.x;
  dense.weight = weight;
  dense.out = to;
  dense.out_dtype = DType::F32;
  dense.rows = linear.rows;
  dense.columns = count;
  dense.depth = linear.depth;
  linear_streaming(dense, context);
}

template <class Visit>
void for_each_chunk(const LinearGptq& linear, bool direct, Visit visit) {
  const int64_t step = chunk_rows(linear, direct), rows = linear.weight.rows;
  for (int64_t first = 0; first < rows; first += step) visit(first, std::min(step, rows - first));
}

void* products_in(void* buffer, const LinearGptq& linear) {
  return static_cast<char*>(buffer) + weight_bytes(linear, chunk_rows(linear, false));
}

}  // namespace

size_t dense_workspace(const LinearGptq& linear, const Context& context) {
  const bool direct = is_direct(linear, context);
  const int64_t count = chunk_rows(linear, direct);
  return weight_bytes(linear, count) +
         (direct ? 0 : static_cast<size_t>(linear.rows * count) * sizeof(float));
}

void prepare_dense(const LinearGptq& linear, void* buffer, Context& context) {
  if (!context.cublaslt) return;
  const bool direct = is_direct(linear, context);
  for_each_chunk(linear, direct, [&](int64_t first, int64_t count) {
    context.cublaslt->prepare(
        direct ? product_of(linear, first, count, buffer)
               : plain_product(linear, count, buffer, products_in(buffer, linear)),
        context.stream);
  });
}

void multiply_dense(const LinearGptq& linear, void* buffer, Context& context) {
  const bool direct = is_direct(linear, context);
  for_each_chunk(linear, direct, [&](int64_t first, int64_t count) {
    dequantize(linear, first, count, buffer, context);
    if (direct) {
      if (context.cublaslt->run(product_of(linear, first, count, buffer), context.stream)) return;
      throw Error("ERR_FEWBIT_CUDA", "linear_gptq: cuBLASLt has no kernel for a product of " +
                                         std::to_string(linear.rows) + " x " +
                                         std::to_string(count) + " x " +
                                         std::to_string(linear.depth) +
                                         ": set FEWBIT_CUDA_LIB_DIR to another version");
    }
    void* products = products_in(buffer, linear);
    multiply_plainly(linear, count, buffer, products, context);
    Launch config;
    config.name = "linear_gptq: bias and activation";
    config.grid = dim3(static_cast<unsigned>(linear.rows));
    config.block = dim3(kThreads);
    config.overlap = true;
    launch(config, context, finish_rows, linear, static_cast<const float*>(products), first, count);
  });
}

}  // namespace fewbit::cuda::gptq
