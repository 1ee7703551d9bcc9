#include "../ops/decode_attention_quantized.h"

#include <algorithm>

#include "attention.h"
#include "checks.h"
#include "cpu_op.h"

namespace fewbit::cpu {

namespace {

using namespace ops::decode_attention_quantized;

// Copies of q and k, which the ops that come first rotate and round in place, then slots and the
// positions of rows that are no padding.
size_t workspace(const OpCall& call) {
  const int64_t values = call[q].cols() + call[k].cols();
  return call[q].rows() * (values * sizeof(float) + 2 * sizeof(int32_t));
}

// Where the table has the key of a row; -1 for padding.
int32_t slot_of(const OpCall& call, int64_t row) {
  const TensorView& table = call[block_table];
  const int64_t page_size = call[key_cache].shape[2];
  const int32_t position = call[positions].as<int32_t>()[row];
  if (position < 0 || position / page_size >= table.shape[1]) return -1;
  const int32_t sequence = call[sequences].as<int32_t>()[row];
  require_range(spec, sequences, row, sequence, 0, table.shape[0]);
  const int32_t page = table.as<int32_t>()[sequence * table.shape[1] + position / page_size];
  return page < 0 ? -1 : static_cast<int32_t>(page * page_size + position % page_size);
}

// A copy of a matrix, whose rows lie together.
TensorView copy_rows(const TensorView& from, void* to) {
  TensorView copy = from;
  copy.data = to;
  copy.stride[0] = from.cols();
  for (int64_t row = 0; row < from.rows(); ++row) {
    std::copy_n(from.as<float>() + row * from.row_stride(), from.cols(),
                copy.as<float>() + row * from.cols());
  }
  return copy;
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const int64_t rows = call[q].rows();
  const TensorView rotated = copy_rows(call[q], call.workspace);
  const TensorView rounded = copy_rows(call[k], rotated.as<float>() + rotated.elements());
  TensorView slots = call[positions], known = call[positions];
  slots.data = rounded.as<float>() + rounded.elements();
  known.data = slots.as<int32_t>() + rows;
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t slot = slot_of(call, row);
    slots.as<int32_t>()[row] = slot;
    known.as<int32_t>()[row] = slot < 0 ? -1 : call[positions].as<int32_t>()[row];
  }
  if (call[feedback]) round_keys(round_call(call, rotated, rounded), pool);
  append_codes(append_call(call, rotated, rounded, slots), pool);
  attend_codes(attention_call(call, rotated, known), pool);
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
