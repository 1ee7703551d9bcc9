// Flash attention for many rows over a cache of 16-bit elements.
#include "prefill_block.cuh"

namespace fewbit::cuda::attention {

namespace {

// Rows of the cache as they are, two tiles ahead of their places and one of their copies.
template <class T, int Chunks>
struct CopiedRows {
  using S = PrefillShape<Chunks>;
  static constexpr int kRowChunks = 4 * Chunks;

  const Problem& problem;
  uint32_t (&cache_rows)[2][S::kKeys];  // shared
  int sequence = 0, kv_head = 0, last_key = 0;
  uint32_t next_row = 0;

  __device__ __forceinline__ uint4 query(int row, int head, int chunk) const {
    return *reinterpret_cast<const uint4*>(problem.query<T>(row, head) + chunk * 8);
  }

  __device__ __forceinline__ uint32_t look_up(int tile) const {
    const int key = min(tile * S::kKeys + static_cast<int>(threadIdx.x), last_key);
    return problem.cache_row(sequence, kv_head, key);
  }

  __device__ __forceinline__ void begin(int of, int head, int last) {
    sequence = of, kv_head = head, last_key = last;
    if (threadIdx.x < S::kKeys) cache_rows[0][threadIdx.x] = look_up(0);
    __syncthreads();
  }

  __device__ __forceinline__ void start(int tile, uint32_t stage) {
    const int head_chunks = problem.dim / 8;
    const char* keys = static_cast<const char*>(problem.key_cache);
    const char* values = static_cast<const char*>(problem.value_cache);
#pragma unroll
    for (int i = 0; i < S::kKeys * kRowChunks / kPrefillThreads; ++i) {
      const int index = i * kPrefillThreads + threadIdx.x;
      const int key = index / kRowChunks, chunk = index % kRowChunks;
      const bool read = chunk < head_chunks;
      const int64_t row = cache_rows[tile & 1][key];
      const int64_t from = (row * problem.dim + (read ? chunk * 8 : 0)) * 2;
      const uint32_t to = stage + S::place(key, chunk);
      copy_async(to, keys + from, read);
      copy_async(to + S::kTileBytes, values + from, read);
    }
    commit_copies();
    if (threadIdx.x < S::kKeys) next_row = look_up(tile + 1);
  }

  __device__ __forceinline__ void finish(int tile, uint32_t) {
    if (threadIdx.x < S::kKeys) cache_rows[(tile + 1) & 1][threadIdx.x] = next_row;
    wait_copies<0>();
  }

  __device__ __forceinline__ void store(int row, int head, int element, float first,
                                        float second) const {
    *reinterpret_cast<uint32_t*>(problem.result<T>(row, head) + element) = pack<T>(first, second);
  }
};

template <class T, int Chunks>
__global__ void __launch_bounds__(kPrefillThreads, 2) prefill_kernel(const Problem problem) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ RowTable<kPrefillRows> table;
  __shared__ uint32_t cache_rows[2][PrefillShape<Chunks>::kKeys];
  start_successor();
  wait_for_predecessor();
  CopiedRows<T, Chunks> source{problem, cache_rows};
  prefill_block<T, Chunks>(problem, source, shared, table);
}

}  // namespace

void run_prefill(const Problem& problem, Context& context) {
  with_half(problem.dtype, "attention: q", [&](auto zero) {
    using T = decltype(zero);
    with_chunks(problem.dim, [&](auto chunks) {
      const unsigned row_blocks = (problem.rows + kPrefillRows - 1) / kPrefillRows;
      launch({.name = "attention (prefill)",
              .grid = dim3(problem.query_heads, row_blocks),
              .block = dim3(kPrefillThreads),
              .shared_bytes = PrefillShape<chunks()>::kSharedBytes,
              .overlap = true},
             context, prefill_kernel<T, chunks()>, problem);
    });
  });
}

}  // namespace fewbit::cuda::attention
