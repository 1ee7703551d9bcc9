// One attention call in the terms its kernels use, and the way from a key to its cache row.
#pragma once

#include <bit>

#include "../common/context.h"
#include "../common/convert.cuh"
#include "../common/dependency.cuh"
#include "../common/launch.h"

namespace fewbit::cuda::attention {

struct Problem {
  DType dtype;
  const void* q;
  const void* key_cache;
  const void* value_cache;
  void* out;
  const int32_t* block_table;  // [table_rows, table_columns]
  const int32_t* sequences;
  const int32_t* positions;
  int64_t q_stride;
  int32_t rows, query_heads, kv_heads, group, dim;
  int32_t pages, page_size, table_rows, table_columns;
  int32_t page_shift;  // log2 of the page size, or -1
  float scale_log2;    // scale * log2(e): the kernels work with powers of two

  // Of a padding row: -1. Both loads start at once.
  __device__ int position_of(int row) const {
    const int sequence = sequences[row], position = positions[row];
    return sequence >= 0 && sequence < table_rows ? position : -1;
  }

  // Index, in rows of dim elements, of a key in the caches. Pages outside the cache are a caller's
  // error: they are held inside it, so that they cost a wrong result and no stray access.
  // past_l1 leaves no copy of the table behind in L1.
  __device__ uint32_t cache_row(int sequence, int kv_head, int key, bool past_l1 = false) const {
    const int index = min(page_of(key), table_columns - 1);
    const int32_t* at = block_table + static_cast<int64_t>(sequence) * table_columns + index;
    const int entry = past_l1 ? __ldcg(at) : *at;
    return row_in(entry, kv_head, key);
  }
  // The same where the entry of the block table is known.
  __device__ uint32_t row_in(int32_t entry, int kv_head, int key) const {
    const int page = min(max(entry, 0), pages - 1);
    return (static_cast<uint32_t>(page) * kv_heads + kv_head) * page_size + key -
           page_of(key) * page_size;
  }
  // The same of a slot.
  __device__ uint32_t slot_row(int slot, int kv_head) const {
    const uint32_t page = page_of(slot);
    return (page * kv_heads + kv_head) * page_size + slot - page * page_size;
  }
  __device__ int page_of(int key) const {
    return page_shift >= 0 ? key >> page_shift : key / page_size;
  }

  template <class T>
  __device__ const T* query(int row, int head) const {
    return static_cast<const T*>(q) + row * q_stride + head * dim;
  }
  template <class T>
  __device__ T* result(int row, int head) const {
    return static_cast<T*>(out) + (static_cast<int64_t>(row) * query_heads + head) * dim;
  }
};

inline Problem problem_of(const TensorView& q, const TensorView& key_cache,
                          const TensorView& value_cache, const TensorView& block_table,
                          const TensorView& sequences, const TensorView& positions,
                          const TensorView& out, double scale) {
  const int32_t dim = static_cast<int32_t>(key_cache.shape[3]);
  const int32_t kv_heads = static_cast<int32_t>(key_cache.shape[1]);
  const int32_t query_heads = static_cast<int32_t>(q.cols() / dim);
  const auto page_size = static_cast<uint32_t>(key_cache.shape[2]);
  return {.dtype = q.dtype,
          .q = q.data,
          .key_cache = key_cache.data,
          .value_cache = value_cache.data,
          .out = out.data,
          .block_table = block_table.as<int32_t>(),
          .sequences = sequences.as<int32_t>(),
          .positions = positions.as<int32_t>(),
          .q_stride = q.row_stride(),
          .rows = static_cast<int32_t>(q.rows()),
          .query_heads = query_heads,
          .kv_heads = kv_heads,
          .group = query_heads / kv_heads,
          .dim = dim,
          .pages = static_cast<int32_t>(key_cache.shape[0]),
          .page_size = static_cast<int32_t>(page_size),
          .table_rows = static_cast<int32_t>(block_table.shape[0]),
          .table_columns = static_cast<int32_t>(block_table.shape[1]),
          .page_shift = page_size & page_size - 1 ? -1 : std::countr_zero(page_size),
          .scale_log2 = static_cast<float>(scale * 1.4426950408889634)};
}

// What a decode step brings: one new key and value a row, at the row's position.
struct Append {
  const void* k;
  const void* v;
  const float* rope;     // null: no rotation
  const int32_t* slots;  // where they go in the caches
  int64_t k_stride, v_stride;
  int64_t cache_slots;
  int32_t rope_rows;

  // Whether a row with these is none that only pads the batch.
  __device__ bool is_known(const Problem& problem, int position, int sequence, int slot) const {
    return position >= 0 && sequence >= 0 && sequence < problem.table_rows && slot >= 0 &&
           slot < cache_slots && (!rope || position < rope_rows);
  }

  // Cosines, then sines, of a position.
  __device__ const float* angles(const Problem& problem, int position) const {
    return rope ? rope + int64_t{position} * problem.dim : nullptr;
  }
  // Towards L2, by the first threads of a block.
  __device__ void prefetch_angles(const Problem& problem, int position) const {
    constexpr int kLine = 32;  // floats
    const int at = static_cast<int>(threadIdx.x) * kLine;
    if (!rope || position < 0 || at >= problem.dim) return;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(angles(problem, position) + at));
  }
  template <class T>
  __device__ const T* key(int row, int kv_head, int dim) const {
    return static_cast<const T*>(k) + row * k_stride + kv_head * dim;
  }
  template <class T>
  __device__ const T* value(int row, int kv_head, int dim) const {
    return static_cast<const T*>(v) + row * v_stride + kv_head * dim;
  }
};

// Whether the tensor-core kernels take the problem: 16-bit elements, heads of a multiple of 8 up to
// 256 elements, and addresses that allow 16-byte loads.
inline bool fits_tensor_cores(const Problem& problem) {
  const int64_t cache_rows = int64_t{problem.pages} * problem.kv_heads * problem.page_size;
  return problem.dtype != DType::F32 && problem.dim % 8 == 0 && problem.dim <= 256 &&
         cache_rows < (int64_t{1} << 32) && vector_aligned(problem.q, problem.q_stride, 2) &&
         vector_aligned(problem.key_cache, 0, 2) && vector_aligned(problem.value_cache, 0, 2) &&
         vector_aligned(problem.out, 0, 2);
}

inline bool fits_tensor_cores(const Problem& problem, const Append& append) {
  return fits_tensor_cores(problem) && vector_aligned(append.k, append.k_stride, 2) &&
         vector_aligned(append.v, append.v_stride, 2) && vector_aligned(append.rope, 0, 4);
}

// Calls body with std::integral_constant of the number of 32-element chunks that hold a head: one
// of the sizes the kernels are compiled for.
template <class Body>
void with_chunks(int dim, Body&& body) {
  if (dim <= 32) return body(std::integral_constant<int, 1>{});
  if (dim <= 64) return body(std::integral_constant<int, 2>{});
  if (dim <= 96) return body(std::integral_constant<int, 3>{});
  if (dim <= 128) return body(std::integral_constant<int, 4>{});
  body(std::integral_constant<int, 8>{});
}

// At most one row a sequence, whose last key and value are still to be appended (decode.cu). The
// workspace holds what splits hand over where there are no clusters.
size_t decode_workspace(const Problem& problem, const Context& context);
void run_decode(const Problem& problem, const Append& append, Context& context, void* workspace);

// Any rows (prefill.cu).
void run_prefill(const Problem& problem, Context& context);

// The same on sm_90a (prefill_hopper.cu), where problem and device suit it.
bool prefers_hopper(const Problem& problem, const Context& context);
void run_prefill_hopper(const Problem& problem, Context& context);

// Any rows, head dimensions and dtypes, slowly (generic.cu). append may be null: every key is in
// the caches.
void run_generic(const Problem& problem, const Append* append, Context& context);

}  // namespace fewbit::cuda::attention
