// The matrix product of codes on static grids: checks a call and chooses how to compute it.
#include "../src/ops/linear_affine.h"

#include <string>

#include "affine/linear_affine.h"
#include "affine/product.cuh"
#include "common/cuda_op.h"

namespace fewbit::cuda {
namespace {

using namespace ops::linear_affine;

// What 16-byte loads need; rows have it by their padding.
const uint8_t* aligned(const TensorView& view, const char* name) {
  if (!view) return nullptr;
  if (reinterpret_cast<uintptr_t>(view.data) % 16 == 0) return view.as<uint8_t>();
  throw Error("ERR_FEWBIT_SHAPE", std::string("linear_affine: ") + name +
                                      " must start at a multiple of 16 bytes: pass the whole "
                                      "tensor, not a slice of it");
}

// Programs are captured when the model has been loaded; an eager call may follow the op that wrote
// its weight.
bool weights_settled(const Context& context) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(context.stream, &status), "linear_affine");
  return status == cudaStreamCaptureStatusActive;
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
  p.weights_settled = weights_settled(context);
  return p;
}

void run(const OpCall& call, Context& context) {
  if (call[out].rows() == 0 || call[out].cols() == 0) return;
  affine::multiply_streaming(product_of(call, context), context);
}

const CudaOp op("linear_affine", run);

}  // namespace
}  // namespace fewbit::cuda
