// gptq_hessian on CUDA: see src/ops/gptq_hessian.h. Products of 16-bit values are exact in fp32.
//
// Only what lies above the diagonal is computed, in strips of columns: each strip by cuBLASLt down to
// its last column, or else by an own kernel tile by tile.
#include "../src/ops/gptq_hessian.h"

#include <algorithm>

#include "common/cuda_op.h"
#include "cublaslt/cublaslt.h"
#include "gptq_quantizer/gram.cuh"

namespace fewbit::cuda {

namespace {

using namespace ops::gptq_hessian;
using gptq_quantizer::Gram;

// Tensor cores cut sums off instead of rounding them, so that very long ones would drift.
constexpr int64_t kMaxRows = 4096;
// Wide enough that the product of a strip fills the GPU.
constexpr int64_t kStrip = 2048;

constexpr int kSide = 32;  // of a mirrored tile
constexpr int kRows = 8;   // of a block of threads

// Copies what lies above the diagonal to below it.
__global__ __launch_bounds__(kSide* kRows) void mirror(float* h, int64_t cols) {
  __shared__ float tile[kSide][kSide + 1];
  if (blockIdx.x < blockIdx.y) return;
  const int64_t first_row = int64_t{blockIdx.y} * kSide, first_col = int64_t{blockIdx.x} * kSide;
  for (int i = threadIdx.y; i < kSide; i += kRows) {
    const int64_t row = first_row + i, col = first_col + threadIdx.x;
    if (row < cols && col < cols) tile[i][threadIdx.x] = h[row * cols + col];
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kSide; i += kRows) {
    const int64_t row = first_col + i, col = first_row + threadIdx.x;
    if (row > col && row < cols) h[row * cols + col] = tile[threadIdx.x][i];
  }
}

// False when the library is absent or has nothing for this shape.
template <class T>
bool add_by_library(const Gram<T>& gram, cudaDataType_t type, Context& context) {
  if (!context.cublaslt || !vector_aligned(gram.x, gram.cols, sizeof(T))) return false;
  Product product;
  product.m = gram.end;
  product.n = gram.end - gram.begin;
  product.k = gram.rows;
  product.transposed = true;
  product.alpha = gram.scale;
  product.beta = gram.keep;
  product.operand = type;
  product.result = CUDA_R_32F;
  product.x = gram.x;
  product.weight = gram.x + gram.begin;
  product.out = gram.h + gram.begin;
  product.x_stride = product.weight_stride = product.out_stride = gram.cols;
  return context.cublaslt->run(product, context.stream);
}

template <class T>
void add(Gram<T> gram, cudaDataType_t type, Context& context) {
  const int64_t cols = gram.cols;
  int64_t done = 0;
  for (gram.begin = 0; gram.begin < cols && gram.rows > 0; gram.begin = done) {
    gram.end = std::min(gram.begin + kStrip, cols);
    if (!add_by_library(gram, type, context)) break;
    done = gram.end;
  }
  if (done < cols) {
    gram.end = cols;
    add_gram(gram, context);
  }
  if (done == 0) return;  // the own kernel writes both sides
  const auto sides = static_cast<unsigned>((cols + kSide - 1) / kSide);
  launch({.name = "gptq_hessian", .grid = dim3(sides, sides), .block = dim3(kSide, kRows)}, context,
         mirror, gram.h, cols);
}

void run(const OpCall& call, Context& context) {
  const int64_t rows = call[x].rows(), cols = call[x].cols();
  const cudaDataType_t type = call[x].dtype == DType::F16 ? CUDA_R_16F : CUDA_R_16BF;
  with_half(call[x].dtype, "gptq_hessian: x", [&](auto zero) {
    using T = decltype(zero);
    auto keeps = static_cast<float>(call.attrs[keep]);
    int64_t first = 0;
    do {  // once even without rows, for the sake of keep
      add(Gram<T>{.x = call[x].as<const T>() + first * cols,
                  .h = call[h].as<float>(),
                  .rows = std::min(kMaxRows, rows - first),
                  .cols = cols,
                  .keep = keeps,
                  .scale = static_cast<float>(call.attrs[scale])},
          type, context);
      keeps = 1;
      first += kMaxRows;
    } while (first < rows);
  });
}

const CudaOp op("gptq_hessian", run);

}  // namespace

}  // namespace fewbit::cuda
