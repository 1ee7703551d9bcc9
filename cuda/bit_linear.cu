// A BitLinear layer in one call: one kernel for few rows, else the kernels of bitnet_quantize and
// linear_bitnet with the codes in the workspace.
#include "../src/ops/bit_linear.h"

#include "bitnet/linear_bitnet.h"
#include "bitnet/operands.h"
#include "common/aligned.h"
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
  bitnet::Quantize q =
      bitnet::quantize_input(call[x], call[up], call[norm], call.attrs[gate], call.attrs[eps]);
  q.padded_cols = ops::bitnet::padded(q.cols);
  auto* front = static_cast<char*>(call.workspace);
  q.codes = reinterpret_cast<int8_t*>(front);
  front += aligned(q.rows * q.padded_cols);
  q.scales = reinterpret_cast<float*>(front);
  q.sums = reinterpret_cast<int32_t*>(front + aligned(q.rows * 4));
  return q;
}

bitnet::Product product_of(const OpCall& call, const bitnet::Quantize& q, Context& context) {
  require_aligned("bit_linear", "weight", call[weight]);
  bitnet::Product p = bitnet::product_into(call[out], call[weight], call[weight_scales], call[bias],
                                           call[residual], call.attrs[activation], context);
  p.codes = q.codes;
  p.scales = q.scales;
  p.sums = q.sums;
  p.depth = q.padded_cols;
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
