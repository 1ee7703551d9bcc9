#include "../ops/linear_affine.h"

#include "affine_matmul.h"
#include "checks.h"
#include "cpu_op.h"
#include "parallel.h"
#include "widened.h"

namespace fewbit::cpu {

namespace {

using namespace ops::linear_affine;

bool has_chunks(const OpCall& call) {
  return kernels().matmul_affine[static_cast<int>(call.attrs[bits])] != nullptr;
}

int64_t piece_count(const OpCall& call) {
  return AffinePieces::count(columns(call), static_cast<int64_t>(call.attrs[group_size]));
}

// The workspace: scales and bias as f32, activations of a byte each where they are packed, and what
// either way makes of them. Every part begins at a multiple of 64 bytes.
class Workspace {
 public:
  explicit Workspace(const OpCall& call, void* base = nullptr)
      : begin_(reinterpret_cast<uintptr_t>(base)) {
    const int64_t m = call[out].rows(), k = columns(call);
    scale = take<float>(call[ops::linear_affine::scales].elements());
    shift = take<float>(call[out].cols());
    input = take<int8_t>(call.attrs[x_bits] == 8 ? 0 : m * k);
    const int64_t chunks = has_chunks(call) ? m * AffineChunks::count(k) : 0;
    ordered = take<int8_t>(chunks * ops::affine::kChunk);
    lane_sums = take<float>(chunks * kChunkLanes);
    piece_sums = take<int32_t>(has_chunks(call) ? 0 : m * piece_count(call));
  }
  size_t bytes() const { return bytes_; }

  float* scale;
  float* shift;
  int8_t* input;
  int8_t* ordered;
  float* lane_sums;
  int32_t* piece_sums;

 private:
  template <class T>
  T* take(int64_t count) {
    auto* begin = reinterpret_cast<T*>(begin_ + bytes_);
    bytes_ += (count * sizeof(T) + 63) / 64 * 64;
    return begin;
  }

  uintptr_t begin_;
  size_t bytes_ = 0;
};

// Calls body(row) for every row of x, on all threads.
template <class Body>
void for_rows(const OpCall& call, ThreadPool& pool, const Body& body) {
  pool.parallel_for(call[x].rows(), row_grain(columns(call)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

// The activations as int8, in the buffer where they are packed.
const int8_t* widened_codes(const OpCall& call, ThreadPool& pool, int8_t* buffer) {
  if (call.attrs[x_bits] == 8) return call[x].as<int8_t>();
  const int64_t k = columns(call);
  for_rows(call, pool, [&](int64_t row) {
    unpack_nibbles(call[x].as<uint8_t>() + row * k / 2, k, buffer + row * k);
  });
  return buffer;
}

template <class Way>
void run_tasks(const Way& way, const OpCall& call, ThreadPool& pool) {
  const MatmulTasks tasks(call[out].rows(), call[out].cols(), pool.threads());
  pool.parallel_for(tasks.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) way.run(tasks[i]);
  });
}

void run_chunks(const AffineCall& affine, const Workspace& buffers, ThreadPool& pool) {
  const int64_t chunks = AffineChunks::count(affine.k);
  for_rows(affine.call, pool, [&](int64_t row) {
    to_chunk_order(affine.input + row * affine.k, affine.k, affine.bits,
                   buffers.ordered + row * chunks * ops::affine::kChunk,
                   buffers.lane_sums + row * chunks * kChunkLanes);
  });
  const AffineChunks way(affine, {buffers.ordered, buffers.lane_sums});
  run_tasks(way, affine.call, pool);
}

void run_pieces(const AffineCall& affine, const Workspace& buffers, ThreadPool& pool) {
  for_rows(affine.call, pool, [&](int64_t row) {
    int32_t* to = buffers.piece_sums + row;
    AffinePieces::for_pieces(affine.k, affine.size, [&](int64_t p, int64_t count) {
      *to = affine.kernel.sum_s8(affine.input + row * affine.k + p, count);
      to += affine.m;
    });
  });
  run_tasks(AffinePieces(affine, buffers.piece_sums), affine.call, pool);
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {out});
  require_float(spec, call, {bias});
  if (call[out].rows() == 0 || call[out].cols() == 0) return;
  const Workspace buffers(call, call.workspace);
  const AffineCall affine{.call = call,
                          .input = widened_codes(call, pool, buffers.input),
                          .scale = widened(call[scales], buffers.scale),
                          .shift = widened(call[bias], buffers.shift)};
  if (has_chunks(call)) {
    run_chunks(affine, buffers, pool);
  } else {
    run_pieces(affine, buffers, pool);
  }
}

size_t workspace(const OpCall& call) { return Workspace(call).bytes(); }

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
