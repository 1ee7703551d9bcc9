// key_round on CUDA: see src/ops/key_round.h.
#include "../src/ops/key_round.h"

#include <algorithm>

#include "common/convert.cuh"
#include "common/cuda_op.h"
#include "common/dependency.cuh"
#include "common/launch.h"
#include "kv/key_round.h"

namespace fewbit::cuda {
namespace {

using namespace ops::key_round;

template <class T>
struct KeyRound {
  T* q;
  T* k;
  const int32_t* positions;
  const float* rope;  // null: no rotation
  const float* grid;
  const __half* feedback;
  int64_t q_stride, k_stride, rope_rows, rows;
  int32_t query_heads, kv_heads, dim, largest_code;
};

// Element i of a head after its rotation: it turns with the one half a head away.
template <class T>
__device__ __forceinline__ float rotated(const T* head, const float* angles, int i, int half) {
  const bool first = i < half;
  const float own = to_float(head[i]), other = to_float(head[first ? i + half : i - half]);
  const float cosine = angles[first ? i : i - half], sine = angles[first ? i + half : i];
  return first ? own * cosine - other * sine : own * cosine + other * sine;
}

// Heads up to this one have their feedback in shared memory, on every GPU.
constexpr int kStagedHead = 128;

// Copies a head's feedback, which no kernel writes, while the kernel before still runs.
__device__ __forceinline__ void stage(const __half* from, __half* to, int count) {
  constexpr int kCount = kVectorSize<__half>;
  for (int at = static_cast<int>(threadIdx.x) * kCount; at < count;
       at += static_cast<int>(blockDim.x) * kCount) {
    store_vector(to + at, load_vector(from + at));
  }
}

// A block takes Rows rows of one head of keys (and the heads of queries that read it), a thread one
// channel. The groups follow each other; what errors add to later channels is summed on the way, so
// that each element of feedback is read once for all rows, by neighbouring threads.
template <class T, int Rows, bool Staged>
__global__ __launch_bounds__(kLargestHead) void key_round_kernel(const KeyRound<T> p) {
  __shared__ float errors[Rows][Staged ? kStagedHead : kLargestHead];
  extern __shared__ __align__(16) __half staged[];
  const int head = static_cast<int>(blockIdx.y), i = static_cast<int>(threadIdx.x);
  const int dim = p.dim, half = dim / 2;
  const __half* feedback = p.feedback + int64_t{head} * dim * dim;
  if constexpr (Staged) {
    stage(feedback, staged, dim * dim);
    feedback = staged;
  }
  wait_for_predecessor();
  const int64_t first = int64_t{blockIdx.x} * Rows;
  const bool inside = i < dim;

  float x[Rows] = {}, added[Rows] = {};
  bool skip[Rows];
  const float* angles[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    const int32_t position = first + r < p.rows ? p.positions[first + r] : -1;
    skip[r] = position < 0 || (p.rope && position >= p.rope_rows);
    angles[r] = p.rope && !skip[r] ? p.rope + int64_t{position} * dim : nullptr;
    if (skip[r] || !inside) continue;
    const T* key = p.k + (first + r) * p.k_stride + int64_t{head} * dim;
    x[r] = angles[r] ? rotated(key, angles[r], i, half) : to_float(key[i]);
  }

  if (p.rope && i < half) {
    const int group = p.query_heads / p.kv_heads;
    for (int r = 0; r < Rows; ++r) {
      if (skip[r]) continue;
      T* query = p.q + (first + r) * p.q_stride + int64_t{head} * group * dim + i;
      const float cosine = angles[r][i], sine = angles[r][i + half];
      for (int g = 0; g < group; ++g, query += dim) {
        const float a = to_float(query[0]), b = to_float(query[half]);
        query[0] = from_float<T>(a * cosine - b * sine);
        query[half] = from_float<T>(b * cosine + a * sine);
      }
    }
  }

  const int64_t channel = int64_t{head} * dim + i;
  const float scale = inside ? p.grid[channel] : 1.0f;
  const float zero = inside ? p.grid[int64_t{p.kv_heads} * dim + channel] : 0.0f;
  const auto largest = static_cast<float>(p.largest_code);
  for (int begin = 0; begin < dim;) {
    const int end = begin + static_cast<int>(group_size(dim - begin));
    if (i >= begin && i < end) {
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        const float code = rintf(__fdiv_rn(__fadd_rn(x[r], added[r]), scale)) + zero;
        const float rounded = __fmul_rn(scale, fminf(fmaxf(code, 0.0f), largest) - zero);
        errors[r][i] = __fsub_rn(rounded, x[r]);
        x[r] = rounded;
      }
    }
    __syncthreads();  // also: every key has been read before the first is written
    if (i >= end && inside) {
      const __half* weight = feedback + begin * dim + i;
#pragma unroll 8
      for (int j = begin; j < end; ++j, weight += dim) {
        const float factor = to_float(*weight);
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
          // Not fused: the CPU's sums, so that both round alike.
          added[r] = __fadd_rn(added[r], __fmul_rn(errors[r][j], factor));
        }
      }
    }
    begin = end;
  }
  if (!inside) return;
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    if (!skip[r]) p.k[(first + r) * p.k_stride + channel] = from_float<T>(x[r]);
  }
}

// Rows that share the reading of feedback, where there are enough of them to fill the device.
constexpr int kManyRows = 8;
constexpr int64_t kFewBlocks = 512;

template <class T, int Rows, bool Staged>
void launch_rows(const KeyRound<T>& problem, Context& context) {
  Launch config;
  config.name = "key_round";
  config.grid = dim3(static_cast<unsigned>((problem.rows + Rows - 1) / Rows),
                     static_cast<unsigned>(problem.kv_heads));
  config.block = dim3(static_cast<unsigned>((problem.dim + 31) / 32 * 32));
  config.shared_bytes = Staged ? sizeof(__half) * problem.dim * problem.dim : 0;
  config.overlap = true;
  launch(config, context, key_round_kernel<T, Rows, Staged>, problem);
}

}  // namespace

void kv::round_keys(const OpCall& call, Context& context) {
  with_float(call[q].dtype, [&](auto none) {
    using T = decltype(none);
    const int64_t dim = call[feedback].shape[1];
    const KeyRound<T> problem{
        .q = call[q].as<T>(),
        .k = call[k].as<T>(),
        .positions = call[positions].as<int32_t>(),
        .rope = call[rope].as<float>(),
        .grid = call[grid].as<float>(),
        .feedback = call[feedback].as<const __half>(),
        .q_stride = call[q].row_stride(),
        .k_stride = call[k].row_stride(),
        .rope_rows = call[rope] ? call[rope].shape[0] : 0,
        .rows = call[q].rows(),
        .query_heads = static_cast<int32_t>(call[q].cols() / dim),
        .kv_heads = static_cast<int32_t>(call[feedback].shape[0]),
        .dim = static_cast<int32_t>(dim),
        .largest_code = ops::kv::largest_code(static_cast<int>(call.attrs[bits]))};
    if (problem.rows == 0) return;
    const bool many = problem.rows >= 16 * kManyRows;
    if (many) return launch_rows<T, kManyRows, false>(problem, context);
    // Whole vectors of feedback (heads of a multiple of 4), and blocks that run all at once: then the
    // copy hides behind the kernel before.
    const bool few = problem.rows * problem.kv_heads <= kFewBlocks;
    if (few && dim <= kStagedHead && dim % 4 == 0) {
      return launch_rows<T, 1, true>(problem, context);
    }
    launch_rows<T, 1, false>(problem, context);
  });
}

namespace {
const CudaOp op("key_round", kv::round_keys);
}  // namespace
}  // namespace fewbit::cuda
