// The matrix product of codes on static grids: checks a call and chooses how to compute it.
#include "../src/ops/linear_affine.h"

#include "affine/linear_affine.h"
#include "affine/product.cuh"
#include "common/aligned.h"
#include "common/captured.h"
#include "common/cuda_op.h"

namespace fewbit::cuda {
namespace {

using namespace ops::linear_affine;

const uint8_t* aligned(const TensorView& view, const char* name) {
  if (!view) return nullptr;
  require_aligned("linear_affine", name, view);
  return view.as<uint8_t>();
}

affine::Product product_of(const OpCall& call, Context& context) {
  affine::Product p{};
  p.x = aligned(call[x], "x");
  p.low = aligned(call[codes], "codes");
  p.high = aligned(call[high], "high");
  p.scales = call[scales].data;
  p.scales_dtype = call[scales].dtype;
  p.zeros = call[zeros] ? call[zeros].as<uint8_t>() : nullptr;
  p.bias = call[bias] ? call[bias].data : nullptr;
  p.bias_dtype = call[bias].dtype;
  p.x_bits = static_cast<int>(call.attrs[x_bits]);
  p.bits = static_cast<int>(call.attrs[bits]);
  p.rows = call[out].rows();
  p.columns = call[out].cols();
  p.depth = columns(call);
  p.groups = static_cast<int>(call[scales].cols());
  p.group_size = static_cast<int>(call.attrs[group_size]);
  p.out = call[out].data;
  p.out_dtype = call[out].dtype;
  p.out_stride = call[out].row_stride();
  p.activation = static_cast<Activation>(static_cast<int>(call.attrs[activation]));
  p.weights_settled = is_captured(context);
  return p;
}

// More rows than this are the tile kernel's, where there is one; up to here the faster is found by
// timing, and is the streaming one for kFewRows where that was not possible.
constexpr int64_t kMaxStreamRows = 16;
constexpr int64_t kFewRows = 8;
constexpr int kStreaming = -1;  // beside the variants of the tile kernel

bool tiles_possible(const OpCall& call, const Context& context) {
  return columns(call) > 0 && affine::tile_available(context);
}

Tuner::Key key_of(const affine::Product& p) {
  const int64_t kind = int64_t{1} << 32 | p.x_bits << 28 | p.bits << 20 | p.group_size;
  return {kind, p.rows, p.columns, p.depth, static_cast<int64_t>(p.out_dtype)};
}

bool nothing(const OpCall& call) { return call[out].rows() == 0 || call[out].cols() == 0; }

void multiply(const OpCall& call, const affine::Product& p, int variant, Context& context) {
  if (variant == kStreaming) return affine::multiply_streaming(p, context);
  const bool packed = p.x_bits != 8;
  affine::multiply_tiles(packed ? affine::widened(p, call.workspace, context) : p, variant,
                         context);
}

void prepare(const OpCall& call, Context& context) {
  if (nothing(call) || !tiles_possible(call, context)) return;
  const affine::Product p = product_of(call, context);
  std::vector<int> variants = affine::tile_variants(p, context);
  if (p.rows <= kMaxStreamRows) variants.push_back(kStreaming);
  context.tuner.tune(
      key_of(p), variants, [&](int variant) { multiply(call, p, variant, context); }, context);
}

void run(const OpCall& call, Context& context) {
  if (nothing(call)) return;
  const affine::Product p = product_of(call, context);
  int variant = kStreaming;
  if (tiles_possible(call, context)) {
    if (p.rows > kFewRows) variant = affine::suggest_tile_variant(p, context);
    variant = context.tuner.choice(key_of(p), variant);
  }
  multiply(call, p, variant, context);
}

size_t workspace(const OpCall& call, Context& context) {
  const bool packed = call.attrs[x_bits] != 8;
  return packed && tiles_possible(call, context) ? call[out].rows() * columns(call) : 0;
}

const CudaOp op("linear_affine", run, workspace, prepare);

}  // namespace
}  // namespace fewbit::cuda
