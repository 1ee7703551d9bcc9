// Which inputs are dead, and the order that columns are quantized in.
#pragma once

#include "../../src/ops/gptq_factor.h"
#include "../common/launch.h"
#include "../common/reduce.cuh"

namespace fewbit::cuda::gptq_quantizer {

struct Columns {
  const float* h;  // [count, count]
  int64_t count;
  int64_t group_size;  // of groups that stay together; count for none
  float* weight;       // [count] diagonal, 0 for what is not positive
  float* heaviest;     // [count / group_size] largest weight of each whole group
  double* mean;        // [1] of the diagonal, with 1 for dead columns
  uint8_t* dead;       // [count]
  int32_t* order;      // [count]

  __host__ __device__ int64_t groups() const { return count / group_size; }
};

namespace column_order_kernels {

constexpr int kThreads = 256;
constexpr int kManyThreads = 1024;

__global__ __launch_bounds__(kManyThreads) void read_diagonal(const Columns columns) {
  __shared__ double scratch[kManyThreads / 32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < columns.count; i += kManyThreads) {
    const float value = columns.h[i * columns.count + i];
    columns.weight[i] = value > 0 ? value : 0;
    columns.dead[i] = value == 0;
    sum += value == 0 ? 1 : static_cast<double>(value);
  }
  sum = block_reduce<kManyThreads>(sum, Sum{}, scratch);
  if (threadIdx.x == 0) *columns.mean = sum / static_cast<double>(columns.count);
}

__global__ __launch_bounds__(kThreads) void keep_order(const Columns columns) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < columns.count) columns.order[i] = static_cast<int32_t>(i);
}

__global__ __launch_bounds__(kThreads) void find_heaviest(const Columns columns) {
  __shared__ float scratch[kThreads / 32];
  const float* weights = columns.weight + blockIdx.x * columns.group_size;
  float most = 0;
  for (int64_t i = threadIdx.x; i < columns.group_size; i += kThreads)
    most = fmaxf(most, weights[i]);
  most = block_reduce<kThreads>(most, Max{}, scratch);
  if (threadIdx.x == 0) columns.heaviest[blockIdx.x] = most;
}

// How many of values [0, count) come before number i when the largest are first and ties keep
// their order.
__device__ __forceinline__ int64_t rank_of(const float* values, int64_t count, int64_t i) {
  const float mine = values[i];
  int64_t before = 0;
  for (int64_t j = 0; j < count; ++j) {
    before += values[j] > mine || (values[j] == mine && j < i);
  }
  return before;
}

__global__ __launch_bounds__(kThreads) void sort_columns(const Columns columns) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= columns.count) return;
  const int64_t size = columns.group_size, group = i / size, first = group * size;
  const bool whole = group < columns.groups();  // a short last group stays last
  const int64_t place = whole ? rank_of(columns.heaviest, columns.groups(), group) : group;
  const int64_t members = min(size, columns.count - first);
  const int64_t rank = rank_of(columns.weight + first, members, i - first);
  columns.order[place * size + rank] = static_cast<int32_t>(i);
}

}  // namespace column_order_kernels

// Fills everything that columns points to.
inline void order_columns(const Columns& columns, bool sorted, Context& context) {
  using namespace column_order_kernels;
  launch({.name = "gptq_factor: diagonal", .block = dim3(kManyThreads)}, context, read_diagonal,
         columns);
  const dim3 all(static_cast<unsigned>((columns.count + kThreads - 1) / kThreads));
  const dim3 threads(kThreads);
  if (!sorted) {
    launch({.name = "gptq_factor: order", .grid = all, .block = threads}, context, keep_order,
           columns);
    return;
  }
  if (columns.groups() > 0) {
    const dim3 groups(static_cast<unsigned>(columns.groups()));
    launch({.name = "gptq_factor: groups", .grid = groups, .block = threads}, context,
           find_heaviest, columns);
  }
  launch({.name = "gptq_factor: order", .grid = all, .block = threads}, context, sort_columns,
         columns);
}

}  // namespace fewbit::cuda::gptq_quantizer
