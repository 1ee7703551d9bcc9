// Flash attention for many rows on sm_90a: a block treats 128 query rows of one head, two warpgroups
// of 64 rows each, and walks over the keys tile by tile with a running softmax. One warp brings the
// tiles page by page (TMA); the products of one warpgroup run while the other takes exponentials.
// Rows of a block may belong to several sequences: each distinct one gets its own walk, in which the
// others' rows are masked.
#include "../common/tensor_map.h"
#include "../wgmma/f32.cuh"
#include "fragment.cuh"
#include "prefill_tiles.cuh"
#include "problem.cuh"
#include "row_table.cuh"

namespace fewbit::cuda::attention {

namespace {

using namespace prefill;

constexpr int kFewestRows = 1024;  // for fewer, smaller blocks on more multiprocessors are faster

template <class T, int Columns>
__global__ void __launch_bounds__(kThreads, 1)
    prefill_kernel(const Problem problem, const __grid_constant__ CUtensorMap key_map,
                   const __grid_constant__ CUtensorMap value_map, int box_keys) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int kOut = Columns * 32;  // sums of the output in a thread
  extern __shared__ unsigned char bytes[];
  auto& shared = *reinterpret_cast<Shared<Columns>*>((reinterpret_cast<uintptr_t>(bytes) + 1023) &
                                                     ~uintptr_t{1023});
  // The longest walks start first.
  const int head = blockIdx.x, kv_head = head / problem.group;
  const int first_row = (gridDim.y - 1 - blockIdx.y) * kRows;

  if (threadIdx.x == 0) {
    hopper::prefetch_map(key_map);
    hopper::prefetch_map(value_map);
    for (int i = 0; i < kStages; ++i) {
      hopper::barrier_init(shared.keys_full[i], 1);
      hopper::barrier_init(shared.values_full[i], 1);
      hopper::barrier_init(shared.keys_empty[i], kConsumerWarps);
      hopper::barrier_init(shared.values_empty[i], kConsumerWarps);
    }
    hopper::barrier_init_fence();
  }
  start_successor();
  wait_for_predecessor();
  fill_rows(shared.rows, problem, first_row);  // ends with a barrier

  if (threadIdx.x < 128) {
    hopper::give_registers<24>();
    if (threadIdx.x < 32) bring_tiles(problem, shared, key_map, value_map, kv_head, box_keys);
    return;
  }
  hopper::take_registers<240>();
  const int thread = threadIdx.x - 128, group = thread / 128;
  const int lane = thread % 32, member = lane % 4;
  const int in_block[2] = {group * 64 + thread % 128 / 32 * 16 + lane / 4,
                           group * 64 + thread % 128 / 32 * 16 + lane / 4 + 8};
  load_query<T>(problem, shared.query, first_row, head, group);
  const uint64_t query = hopper::tile_descriptor(shared.query.bytes[0][group * 64]);

  float out[kOut] = {};
  float score[64];
  float largest[2] = {-INFINITY, -INFINITY}, weight_sum[2] = {0.0f, 0.0f};
  Stage stage;
  const auto release = [&](uint64_t& empty) {
    if (lane == 0) hopper::arrive(empty);
  };
  const auto multiply_keys = [&](int i) {
    const uint64_t keys = hopper::tile_descriptor(shared.keys[i].bytes[0]);
    hopper::wgmma_fence();
#pragma unroll
    for (int k = 0; k < Columns * 4; ++k) {
      const int at = k / 4 * (kKeys * kColumnBytes / 16) + k % 4 * 2;
      hopper::wgmma<T>(score, query + at, keys + at, k > 0);
    }
    hopper::wgmma_commit();
  };

  for (int start = next_sequence(shared.rows, -1); start < kRows;
       start = next_sequence(shared.rows, start)) {
    const int tiles = shared.rows.largest[start] / kKeys + 1;
    const int sequence = shared.rows.sequence[start];
    const int least = shared.rows.least[start], last_key = shared.rows.largest[start];
    int limit[2];  // last key that a row attends to
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool mine = shared.rows.sequence[in_block[r]] == sequence;
      limit[r] = mine ? shared.rows.position[in_block[r]] : -1;
    }
    hopper::wait(shared.keys_full[stage.index], stage.phase);
    multiply_keys(stage.index);
    hopper::wgmma_wait<0>();
    release(shared.keys_empty[stage.index]);

    for (int tile = 0; tile < tiles; ++tile) {
      const int first_key = tile * kKeys;
#pragma unroll
      for (float& s : score) asm volatile("" : "+f"(s)::"memory");
      if (first_key + kKeys - 1 > least) {
#pragma unroll
        for (int i = 0; i < 64; ++i) {
          const int key = first_key + i / 4 * 8 + member * 2 + i % 2;
          if (key > limit[i / 2 % 2]) score[i] = -INFINITY;
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float shrink =
            take_scores<16>([&](int n, int i) -> float& { return score[4 * n + 2 * r + i]; },
                            problem.scale_log2, largest[r], weight_sum[r]);
#pragma unroll
        for (int j = 0; j < kOut / 4; ++j) {
          out[4 * j + 2 * r] *= shrink;
          out[4 * j + 2 * r + 1] *= shrink;
        }
      }
      uint32_t weights[8][4];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          weights[k][i] = pack<T>(score[8 * k + 2 * i], score[8 * k + 2 * i + 1]);
        }
      }

      const Stage now = stage;
      stage.next();
      hopper::wait(shared.values_full[now.index], now.phase);
      Tile<Columns>& values = shared.values[now.index];
      if (first_key + kKeys - 1 > last_key) clear_values(values, last_key + 1 - first_key, thread);
      const uint64_t tile_values =
          hopper::transposed_descriptor(values.bytes[0], kKeys * kColumnBytes);
      hopper::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) hopper::wgmma<T, true>(out, weights[k], tile_values + k * 128, 1);
      hopper::wgmma_commit();
      if (tile + 1 < tiles) {
        hopper::wait(shared.keys_full[stage.index], stage.phase);
        multiply_keys(stage.index);
        hopper::wgmma_wait<1>();
        release(shared.values_empty[now.index]);
        hopper::wgmma_wait<0>();
        release(shared.keys_empty[stage.index]);
      } else {
        hopper::wgmma_wait<0>();
        release(shared.values_empty[now.index]);
      }
#pragma unroll
      for (float& o : out) asm volatile("" : "+f"(o)::"memory");
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 1);
    weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 2);
    const int row = first_row + in_block[r];
    if (row >= problem.rows) continue;
    const bool padding = shared.rows.position[in_block[r]] < 0;
    const float inverse = padding ? 0.0f : 1.0f / weight_sum[r];
    T* to = problem.result<T>(row, head);
#pragma unroll
    for (int j = 0; j < kOut / 4; ++j) {
      *reinterpret_cast<uint32_t*>(to + j * 8 + member * 2) =
          pack<T>(out[4 * j + 2 * r] * inverse, out[4 * j + 2 * r + 1] * inverse);
    }
  }
#endif
}

template <class T, int Columns>
void launch_prefill(const Problem& problem, Context& context) {
  const int64_t cache_rows = int64_t{problem.pages} * problem.kv_heads * problem.page_size;
  const int box_keys = std::min(problem.page_size, 64);
  const unsigned row_blocks = (problem.rows + kRows - 1) / kRows;
  launch({.name = "attention (prefill)",
          .grid = dim3(problem.query_heads, row_blocks),
          .block = dim3(kThreads),
          .shared_bytes = sizeof(Shared<Columns>) + 1024,
          .overlap = true},
         context, prefill_kernel<T, Columns>, problem,
         byte_matrix_map(problem.key_cache, cache_rows, problem.dim * 2, box_keys),
         byte_matrix_map(problem.value_cache, cache_rows, problem.dim * 2, box_keys), box_keys);
}

}  // namespace

bool prefers_hopper(const Problem& problem, const Context& context) {
  const int64_t cache_rows = int64_t{problem.pages} * problem.kv_heads * problem.page_size;
  const bool whole_boxes = problem.page_size % 64 == 0 || 64 % problem.page_size == 0;
  return context.properties.major == 9 && context.properties.minor == 0 &&
         (problem.dim == 64 || problem.dim == 128) && problem.page_size >= 8 && whole_boxes &&
         problem.rows >= kFewestRows && cache_rows < (int64_t{1} << 31) &&
         fits_tensor_cores(problem);
}

void run_prefill_hopper(const Problem& problem, Context& context) {
  with_half(problem.dtype, "attention: q", [&](auto zero) {
    using T = decltype(zero);
    if (problem.dim == 64) {
      launch_prefill<T, 1>(problem, context);
    } else {
      launch_prefill<T, 2>(problem, context);
    }
  });
}

}  // namespace fewbit::cuda::attention
