// decode_attention_quantized on CUDA: see src/ops/decode_attention_quantized.h.
#include "../src/ops/decode_attention_quantized.h"

#include "common/cuda_op.h"
#include "kv/append.h"
#include "kv/key_round.h"
#include "kv/problem.cuh"

namespace fewbit::cuda {
namespace {

using namespace ops::decode_attention_quantized;

kv::Problem problem_of(const OpCall& call) {
  return kv::problem_of(attention_call(call, call[q], call[positions]));
}

kv::Append append_of(const OpCall& call) {
  return {.k = call[k].data,
          .v = call[v].data,
          .rope = call[rope].as<float>(),
          .feedback = call[feedback].as<__half>(),
          .k_stride = call[k].row_stride(),
          .v_stride = call[v].row_stride(),
          .rope_rows = static_cast<int32_t>(call[rope] ? call[rope].shape[0] : 0)};
}

bool takes_one_kernel(const OpCall& call, const kv::Problem& problem, const Context& context) {
  if (!kv::fits_decode(problem) || (call[feedback] && call.attrs[bits] == 8)) return false;
  bool fits = false;
  kv::with_width(static_cast<int>(call.attrs[bits]), [&](auto width) {
    fits = kv::decode_shared_bytes<width()>(problem) <= context.properties.sharedMemPerBlockOptin;
  });
  return fits;
}

size_t bytes_of(const TensorView& view) { return view.elements() * size_of(view.dtype); }

// Otherwise there is one for each of its ops, on copies of q and k, with the slots and positions of rows
// that are no padding.
size_t workspace(const OpCall& call, Context& context) {
  const kv::Problem problem = problem_of(call);
  if (takes_one_kernel(call, problem, context)) return kv::decode_workspace(problem, context);
  return bytes_of(call[q]) + bytes_of(call[k]) + 2 * bytes_of(call[positions]);
}

__global__ void find_slots(const kv::Problem problem, const kv::Append append, int32_t* slots,
                           int32_t* known) {
  const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= problem.rows) return;
  const kv::Place place = kv::Place::read(problem, row);
  const int position = place.known(problem, append);
  known[row] = position;
  slots[row] = -1;
  if (position < 0) return;
  const int page = problem.page_of(position);
  const int entry = problem.block_table[int64_t{place.sequence} * problem.table_columns + page];
  slots[row] = entry * problem.page_size + position - page * problem.page_size;
}

TensorView copy_rows(const TensorView& from, void* to, Context& context) {
  TensorView copy = from;
  copy.data = to;
  copy.stride[0] = from.cols();
  const size_t size = size_of(from.dtype), width = from.cols() * size;
  check(cudaMemcpy2DAsync(to, width, from.data, from.row_stride() * size, width, from.rows(),
                          cudaMemcpyDeviceToDevice, context.stream),
        "decode_attention_quantized");
  return copy;
}

void run_in_turn(const OpCall& call, const kv::Problem& problem, Context& context) {
  auto* bytes = static_cast<char*>(call.workspace);
  TensorView slots = call[positions], known = call[positions];
  slots.data = bytes;
  known.data = bytes + bytes_of(slots);
  bytes += 2 * bytes_of(slots);
  launch({.name = "decode_attention_quantized",
          .grid = dim3((problem.rows + 127) / 128),
          .block = dim3(128)},
         context, find_slots, problem, append_of(call), slots.as<int32_t>(), known.as<int32_t>());
  const TensorView rotated = copy_rows(call[q], bytes, context);
  const TensorView rounded = copy_rows(call[k], bytes + bytes_of(call[q]), context);
  if (call[feedback]) kv::round_keys(round_call(call, rotated, rounded), context);
  const int width = static_cast<int>(call.attrs[bits]);
  kv::append_rows(kv::rows_of(append_call(call, rotated, rounded, slots)), call[q].dtype, width,
                  context);
  kv::run_attention(kv::problem_of(attention_call(call, rotated, known)), width, context);
}

void run(const OpCall& call, Context& context) {
  const kv::Problem problem = problem_of(call);
  if (problem.rows == 0) return;
  if (!takes_one_kernel(call, problem, context)) return run_in_turn(call, problem, context);
  kv::with_width(static_cast<int>(call.attrs[bits]), [&](auto width) {
    kv::run_decode<width()>(problem, append_of(call), context, call.workspace);
  });
}

const CudaOp op("decode_attention_quantized", run, workspace);

}  // namespace
}  // namespace fewbit::cuda
