// A BitLinear layer in one call: one kernel for few rows, else the kernels of bitnet_quantize and
// linear_bitnet with the codes in the workspace.
#include "../src/ops/bit_linear.h"

#include "bitnet/linear_bitnet.h"
#include "bitnet/product.cuh"
#include "bitnet/quantize.h"
#include "common/aligned.h"
#include "common/captured.h"
#include "common/cuda_op.h"

namespace fewbit::cuda {

namespace {

using namespace ops::bit_linear;

constexpr size_t aligned(int64_t bytes) { return static_cast<size_t>(bytes + 255) / 256 * 256; }

// The codes, scales and sums of codes, one after the other.
size_t workspace(const OpCall& call, Context&) {
  const int64_t rows = call[x].rows();
  return aligned(rows * ops::bitnet::padded(call[x].cols())) + 2 * aligned(rows * 4);
}

bitnet::Quantize quantize_of(const OpCall& call) {
  bitnet::Quantize q{};
  q.x = call[x].data;
  q.dtype = call[x].dtype;
  q.x_stride = call[x].row_stride();
  if (call[up]) {
    q.up = call[up].data;
    q.up_stride = call[up].row_stride();
  }
  if (call[norm]) q.weight = call[norm].data;
  q.weight_dtype = call[norm].dtype;
  q.rows = call[x].rows();
  q.cols = call[x].cols();
  q.padded_cols = ops::bitnet::padded(q.cols);
  q.activation = static_cast<Gate>(static_cast<int>(call.attrs[gate]));
  q.eps = static_cast<float>(call.attrs[eps]);
  auto* front = static_cast<char*>(call.workspace);
  q.codes = reinterpret_cast<int8_t*>(front);
  front += aligned(q.rows * q.padded_cols);
  q.scales = reinterpret_cast<float*>(front);
  q.sums = reinterpret_cast<int32_t*>(front + aligned(q.rows * 4));
  return q;
}

bitnet::Product product_of(const OpCall& call, const bitnet::Quantize& q, Context& context) {
  require_aligned("bit_linear", "weight", call[weight]);
  bitnet::Product p{};
  p.codes = q.codes;
  p.scales = q.scales;
  p.sums = q.sums;
  p.weight = call[weight].as<uint8_t>();
  p.weight_scales = call[weight_scales].as<float>();
  p.bias = call[bias] ? call[bias].data : nullptr;
  p.bias_dtype = call[bias].dtype;
  if (call[residual]) {
    p.residual = call[residual].data;
    p.residual_stride = call[residual].row_stride();
  }
  p.rows = q.rows;
  p.columns = call[out].cols();
  p.depth = q.padded_cols;
  p.out = call[out].data;
  p.out_dtype = call[out].dtype;
  p.out_stride = call[out].row_stride();
  p.activation = static_cast<Activation>(static_cast<int>(call.attrs[activation]));
  p.weights_settled = is_captured(context);
  return p;
}

void prepare(const OpCall& call, Context& context) {
  bitnet::prepare(product_of(call, quantize_of(call), context), context);
}

void run(const OpCall& call, Context& context) {
  const bitnet::Quantize q = quantize_of(call);
  const bitnet::Product p = product_of(call, q, context);
  if (p.rows == 0) return;
  if (p.columns > 0 && bitnet::multiply_quantizing(p, q, context)) return;
  bitnet::quantize(q, context);
  bitnet::multiply(p, context);
}

const CudaOp op("bit_linear", run, workspace, prepare);

}  // namespace

}  // namespace fewbit::cuda
