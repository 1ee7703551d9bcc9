#include "../ops/decode_attention.h"

#include <algorithm>

#include "../ops/attention.h"
#include "../ops/cache_append.h"
#include "attention.h"
#include "checks.h"
#include "cpu_op.h"

namespace fewbit::cpu {

namespace {

using namespace ops::decode_attention;

// A copy of q, which cache_append rotates in place, then one of the positions.
size_t workspace(const OpCall& call) {
  return call[q].rows() * (call[q].cols() * sizeof(float) + sizeof(int32_t));
}

OpCall append_call(const OpCall& call, const TensorView& rotated) {
  namespace append = ops::cache_append;
  OpCall part;
  part.tensors[append::q] = rotated;
  part.tensors[append::k] = call[k];
  part.tensors[append::v] = call[v];
  part.tensors[append::positions] = call[positions];
  part.tensors[append::slots] = call[slots];
  part.tensors[append::rope] = call[rope];
  part.tensors[append::key_cache] = call[key_cache];
  part.tensors[append::value_cache] = call[value_cache];
  return part;
}

OpCall attention_call(const OpCall& call, const TensorView& rotated, const TensorView& known) {
  namespace attention = ops::attention;
  OpCall part;
  part.tensors[attention::q] = rotated;
  part.tensors[attention::key_cache] = call[key_cache];
  part.tensors[attention::value_cache] = call[value_cache];
  part.tensors[attention::block_table] = call[block_table];
  part.tensors[attention::sequences] = call[sequences];
  part.tensors[attention::positions] = known;
  part.tensors[attention::out] = call[out];
  part.attrs[attention::scale] = call.attrs[scale];
  return part;
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const int64_t rows = call[q].rows(), cols = call[q].cols();
  TensorView rotated = call[q], known = call[positions];
  rotated.data = call.workspace;
  rotated.stride[0] = cols;
  known.data = rotated.as<float>() + rows * cols;
  known.stride[0] = 1;
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = call[q].as<float>() + row * call[q].row_stride();
    std::copy_n(from, cols, rotated.as<float>() + row * cols);
    const int32_t position = call[positions].as<int32_t>()[row];
    const bool padding = position < 0 || call[slots].as<int32_t>()[row] < 0;
    known.as<int32_t>()[row] = padding ? -1 : position;
  }
  append_to_cache(append_call(call, rotated), pool);
  attend(attention_call(call, rotated, known), pool);
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
