#include "../ops/bit_linear.h"

#include <string_view>

#include "../ops/bitnet_quantize.h"
#include "../ops/linear_bitnet.h"
#include "cpu_op.h"

namespace fewbit::cpu {

namespace {

using namespace ops::bit_linear;
namespace quantize = ops::bitnet_quantize;
namespace linear = ops::linear_bitnet;

const CpuOp& find(const OpSpec& spec) {
  for (const CpuOp* op : CpuOp::all()) {
    if (&op->spec == &spec || std::string_view(op->spec.name) == spec.name) return *op;
  }
  throw Error("ERR_FEWBIT_UNSUPPORTED", std::string(spec.name) + " has no CPU version");
}

constexpr size_t kAlignment = 256;
constexpr size_t aligned(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// The two calls that this one stands for; what passes between them lies at the front of the
// workspace.
struct Steps {
  OpCall quantize, linear;
  const CpuOp& quantize_op = find(ops::bitnet_quantize::spec);
  const CpuOp& linear_op = find(ops::linear_bitnet::spec);
  size_t front;

  explicit Steps(const OpCall& call) {
    const int64_t m = call[x].rows(), kp = ops::bitnet::padded(call[x].cols());
    auto* base = static_cast<char*>(call.workspace);
    const auto place = [&](DType dtype, int64_t rows, int64_t cols) {
      TensorView view;
      view.data = base ? base + front : nullptr;
      view.dtype = dtype;
      view.rank = cols ? 2 : 1;
      view.shape[0] = rows;
      view.shape[1] = cols;
      view.stride[0] = cols ? cols : 1;
      view.stride[1] = 1;
      front += aligned(static_cast<size_t>(view.elements()) * size_of(dtype));
      return view;
    };
    front = 0;
    const TensorView codes = place(DType::I8, m, kp);
    const TensorView scales = place(DType::F32, m, 0);
    const TensorView sums = place(DType::I32, m, 0);

    quantize.tensors[quantize::x] = call[x];
    quantize.tensors[quantize::up] = call[up];
    quantize.tensors[quantize::weight] = call[norm];
    quantize.tensors[quantize::codes] = codes;
    quantize.tensors[quantize::scales] = scales;
    quantize.tensors[quantize::sums] = sums;
    quantize.attrs[quantize::activation] = call.attrs[gate];
    quantize.attrs[quantize::eps] = call.attrs[eps];

    linear.tensors[linear::codes] = codes;
    linear.tensors[linear::scales] = scales;
    linear.tensors[linear::sums] = sums;
    linear.tensors[linear::weight] = call[weight];
    linear.tensors[linear::weight_scales] = call[weight_scales];
    linear.tensors[linear::bias] = call[bias];
    linear.tensors[linear::residual] = call[residual];
    linear.tensors[linear::out] = call[out];
    linear.attrs[linear::activation] = call.attrs[activation];

    for (OpCall* step : {&quantize, &linear}) {
      step->workspace = base ? base + front : nullptr;
      step->workspace_bytes = call.workspace_bytes - (base ? front : 0);
    }
  }

  size_t workspace() const {
    const auto own = [](const CpuOp& op, const OpCall& call) {
      return op.workspace ? op.workspace(call) : 0;
    };
    return front + std::max(own(quantize_op, quantize), own(linear_op, linear));
  }
};

void run(const OpCall& call, ThreadPool& pool) {
  const Steps steps(call);
  steps.quantize_op.run(steps.quantize, pool);
  steps.linear_op.run(steps.linear, pool);
}

size_t workspace(const OpCall& call) { return Steps(call).workspace(); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
