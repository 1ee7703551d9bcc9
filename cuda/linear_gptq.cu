// The linear layer with GPTQ weights: checks a call and chooses how to compute it.
#include "../src/ops/linear_gptq.h"

#include <algorithm>

#include "common/aligned.h"
#include "common/convert.cuh"
#include "common/cuda_op.h"
#include "gptq/dense.h"
#include "gptq/linear_gptq.h"

namespace fewbit::cuda {

namespace {

using namespace ops::linear_gptq;
using gptq::LinearGptq;

// Follows from the shape and the device alone, so that a call gives the same result eagerly and in
// a graph.
enum class Way { Bulk, Ring, Streaming, Fused, Dense };
constexpr int64_t kMaxStreamRows = 64;
constexpr int64_t kMaxStreamRowsOnHopper = 16;
// Enough outputs to fill a GPU with tiles of 128: the other kernel is then faster from 9 rows on.
constexpr int64_t kManyOutputs = 9216;
// From here on dequantizing once and leaving the product to the library is as fast or faster; codes of
// 8 bits leave less room for tiles.
constexpr int64_t min_dense_rows(int bits) { return bits == 8 ? 2048 : 8192; }

// Whether x has to be copied: into the order of the positions, or because its rows do not begin at
// multiples of 16 bytes.
bool needs_gather(const OpCall& call) { return call[order] || call[x].cols() % 8 != 0; }

LinearGptq linear_of(const OpCall& call) {
  const DType dtype = call[x].dtype;
  if (dtype != DType::F16 && dtype != DType::BF16) {
    throw Error("ERR_FEWBIT_DTYPE",
                std::string("linear_gptq: x must be f16 or bf16 on CUDA, not ") + name_of(dtype) +
                    ": cast it first");
  }
  LinearGptq linear{};
  gptq::Weight& w = linear.weight;
  w.codes = call[codes].as<uint8_t>();
  w.high = call[high] ? call[high].as<uint8_t>() : nullptr;
  w.scales = call[scales].data;
  w.scales_dtype = call[scales].dtype;
  w.zeros = call[zeros].as<uint8_t>();
  w.rows = call[out].cols();
  w.positions = positions(call);
  w.bits = static_cast<int>(call.attrs[bits]);
  w.groups = static_cast<int>(call[scales].cols());
  w.group_size = static_cast<int>(
      std::clamp<int64_t>(w.positions, 1, static_cast<int64_t>(call.attrs[group_size])));
  linear.dtype = dtype;
  linear.x = needs_gather(call) ? call.workspace : call[x].data;
  linear.rows = call[x].rows();
  linear.depth = needs_gather(call) ? gptq::padded(w.positions) : w.positions;
  linear.bias = call[bias] ? call[bias].data : nullptr;
  linear.bias_dtype = call[bias].dtype;
  linear.out = call[out].data;
  linear.out_dtype = call[out].dtype;
  linear.out_stride = call[out].row_stride();
  linear.activation = static_cast<Activation>(static_cast<int>(call.attrs[activation]));
  return linear;
}

bool nothing_to_do(const LinearGptq& linear) { return linear.rows == 0 || linear.weight.rows == 0; }

Way way_of(const LinearGptq& linear, const Context& context) {
  if (gptq::bulk_fits(linear, context)) return Way::Bulk;
  if (gptq::ring_fits(linear, context)) return Way::Ring;
  if (linear.rows >= min_dense_rows(linear.weight.bits) && context.cublaslt) return Way::Dense;
  const int64_t most = linear.weight.rows < kManyOutputs ? kMaxStreamRowsOnHopper : 8;
  if (linear.rows > most && gptq::fused_fits(linear, context)) return Way::Fused;
  if (!gptq::stream_fits(linear, context)) return Way::Dense;
  return linear.rows <= kMaxStreamRows || !context.cublaslt ? Way::Streaming : Way::Dense;
}

// What the gathered x takes, rounded up so that what follows is aligned.
size_t gathered_bytes(const OpCall& call, const LinearGptq& linear) {
  if (!needs_gather(call)) return 0;
  return (static_cast<size_t>(linear.rows * linear.depth) * 2 + 255) / 256 * 256;
}

size_t way_workspace(const LinearGptq& linear, Context& context) {
  return way_of(linear, context) == Way::Dense ? gptq::dense_workspace(linear, context) : 0;
}

size_t workspace(const OpCall& call, Context& context) {
  const LinearGptq linear = linear_of(call);
  if (nothing_to_do(linear)) return 0;
  return gathered_bytes(call, linear) + way_workspace(linear, context);
}

// What the way of computing needs besides.
void* way_buffer(const OpCall& call, const LinearGptq& linear) {
  return static_cast<char*>(call.workspace) + gathered_bytes(call, linear);
}

void prepare(const OpCall& call, Context& context) {
  const LinearGptq linear = linear_of(call);
  if (nothing_to_do(linear) || way_of(linear, context) != Way::Dense) return;
  gptq::prepare_dense(linear, way_buffer(call, linear), context);
}

void run(const OpCall& call, Context& context) {
  const LinearGptq linear = linear_of(call);
  if (nothing_to_do(linear)) return;
  require_aligned("linear_gptq", "codes", call[codes]);
  if (!needs_gather(call)) require_aligned("linear_gptq", "x", call[x]);
  if (needs_gather(call)) {
    const auto* columns = call[order] ? call[order].as<int32_t>() : nullptr;
    gptq::gather_columns(linear, call[x].data, call[x].cols(), columns, call.workspace, context);
  }
  switch (way_of(linear, context)) {
    case Way::Bulk:
      return gptq::multiply_bulk(linear, context);
    case Way::Ring:
      return gptq::multiply_ring(linear, context);
    case Way::Streaming:
      return gptq::multiply_streaming(linear, gptq::stream_variant(linear, context), context);
    case Way::Fused:
      return gptq::multiply_fused(linear, context);
    case Way::Dense:
      return gptq::multiply_dense(linear, way_buffer(call, linear), context);
  }
}

const CudaOp op("linear_gptq", run, workspace, prepare);

}  // namespace

}  // namespace fewbit::cuda
