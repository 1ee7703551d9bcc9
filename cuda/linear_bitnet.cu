// The matrix product of a BitLinear layer: checks a call and chooses how to compute it.
#include "../src/ops/linear_bitnet.h"

#include "bitnet/linear_bitnet.h"
#include "bitnet/operands.h"
#include "common/aligned.h"
#include "common/cuda_op.h"

namespace fewbit::cuda {

namespace bitnet {

namespace {

// The sums are exact and all kernels finish alike: the choice changes no bit.
enum class Way { Bulk, Tiles, Streaming };

constexpr int64_t kMaxBulkRows = 8;
// Between those and more rows: as long as X is small next to the weights, and blocks have little to do.
constexpr int64_t kMaxStreamRows = 16;
constexpr int64_t kMaxStreamColumns = 10240;
constexpr int64_t kMaxStreamDepth = 4096;

Way way_of(const Product& p, const Context& context) {
  if (p.depth == 0 || !tile_available(context)) return Way::Streaming;
  if (p.rows <= kMaxBulkRows) return Way::Bulk;
  const bool few =
      p.rows <= kMaxStreamRows && p.columns < kMaxStreamColumns && p.depth <= kMaxStreamDepth;
  return few || (p.residual && !tile_adds(p)) ? Way::Streaming : Way::Tiles;
}

Tuner::Key key_of(const Product& p) {
  return {static_cast<int64_t>(DType::U8), p.rows, p.columns, p.depth, 0};
}

}  // namespace

void prepare(const Product& p, Context& context) {
  if (p.rows == 0 || p.columns == 0 || way_of(p, context) != Way::Tiles) return;
  context.tuner.tune(
      key_of(p), tile_variants(p), [&](int variant) { multiply_tiles(p, variant, context); },
      context);
}

void multiply(const Product& p, Context& context) {
  if (p.rows == 0 || p.columns == 0) return;
  switch (way_of(p, context)) {
    case Way::Bulk:
      if (multiply_bulk(p, context)) return;
      break;
    case Way::Tiles:
      return multiply_tiles(p, context.tuner.choice(key_of(p), suggest_tile_variant(p, context)),
                            context);
    case Way::Streaming:
      break;
  }
  multiply_streaming(p, context);
}

}  // namespace bitnet

namespace {

using namespace ops::linear_bitnet;

bitnet::Product product_of(const OpCall& call, Context& context) {
  require_aligned("linear_bitnet", "codes", call[codes]);
  require_aligned("linear_bitnet", "weight", call[weight]);
  bitnet::Product p = bitnet::product_into(call[out], call[weight], call[weight_scales], call[bias],
                                           call[residual], call.attrs[activation], context);
  p.codes = call[codes].as<int8_t>();
  p.scales = call[scales].as<float>();
  p.sums = call[sums].as<int32_t>();
  p.depth = call[codes].cols();
  return p;
}

void prepare(const OpCall& call, Context& context) {
  bitnet::prepare(product_of(call, context), context);
}

void run(const OpCall& call, Context& context) {
  bitnet::multiply(product_of(call, context), context);
}

const CudaOp op("linear_bitnet", run, nullptr, prepare);

}  // namespace

}  // namespace fewbit::cuda
