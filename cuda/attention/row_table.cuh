// The rows of queries that a block of a prefill kernel treats.
#pragma once

#include <climits>

#include "../common/reduce.cuh"
#include "problem.cuh"

namespace fewbit::cuda::attention {

// For the first row of each sequence, a bit in firsts and the least and largest position of the
// sequence's rows; the least is -1 when other rows need a mask anyway.
template <int Rows>
struct RowTable {
  int sequence[Rows];
  int position[Rows];
  int least[Rows];
  int largest[Rows];
  uint32_t firsts[Rows / 32];
};

// By all threads of a block: one warp does the work, sequence by sequence.
template <int Rows>
__device__ __forceinline__ void fill_rows(RowTable<Rows>& table, const Problem& problem,
                                          int first_row) {
  constexpr int kPerLane = Rows / 32;
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x;
    int sequence[kPerLane], position[kPerLane];
    uint32_t left[kPerLane], firsts[kPerLane] = {};
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int row = first_row + j * 32 + lane;
      position[j] = row < problem.rows ? problem.position_of(row) : -1;
      sequence[j] = position[j] < 0 ? -1 : problem.sequences[row];
      table.position[j * 32 + lane] = position[j];
      table.sequence[j * 32 + lane] = sequence[j];
      left[j] = __ballot_sync(kFullWarp, sequence[j] >= 0);
    }
    for (;;) {
      int start = -1, wanted = -1, least = INT_MAX, largest = -1;
#pragma unroll
      for (int j = kPerLane - 1; j >= 0; --j) {
        if (left[j]) start = j * 32 + __ffs(left[j]) - 1;
      }
      if (start < 0) break;
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const int here = __shfl_sync(kFullWarp, sequence[j], start % 32);
        if (j != start / 32) continue;
        wanted = here;
        firsts[j] |= 1u << start % 32;
      }
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const bool mine = sequence[j] == wanted;
        least = min(least, mine ? position[j] : -1);
        largest = max(largest, mine ? position[j] : -1);
        left[j] &= ~__ballot_sync(kFullWarp, mine);
      }
      least = __reduce_min_sync(kFullWarp, least);
      largest = __reduce_max_sync(kFullWarp, largest);
      if (lane == 0) {
        table.least[start] = least;
        table.largest[start] = largest;
      }
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      if (lane == 0) table.firsts[j] = firsts[j];
    }
  }
  __syncthreads();
}

// The next row that is the first of its sequence, after a row; Rows when there is none.
template <int Rows>
__device__ __forceinline__ int next_sequence(const RowTable<Rows>& table, int after) {
  int start = Rows;
#pragma unroll
  for (int word = Rows / 32 - 1; word >= 0; --word) {
    uint32_t bits = table.firsts[word];
    if (word == (after + 1) / 32) bits &= ~0u << (after + 1) % 32;
    if (word >= (after + 1) / 32 && bits) start = word * 32 + __ffs(bits) - 1;
  }
  return start;
}

}  // namespace fewbit::cuda::attention
