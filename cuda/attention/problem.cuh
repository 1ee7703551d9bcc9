// One attention call in the terms its kernels use, and the way from a key to its cache row.
#pragma once

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
  float scale_log2;  // scale * log2(e): the kernels work with powers of two

  // Of a padding row: -1. Both loads start at once.
  __device__ int position_of(int row) const {
    const int sequence = sequences[row], position = positions[row];
    return sequence >= 0 && sequence < table_rows ? position : -1;
  }

  // Index, in rows of dim elements, of a key in the caches. Pages outside the cache are a caller's
  // error: they are held inside it, so that they cost a wrong result and no stray access.
  // past_l1 leaves no copy of the table behind in L1.
  __device__ uint32_t cache_row(int sequence, int kv_head, int key, bool past_l1 = false) const {
    const int index = min(key / page_size, table_columns - 1);
    const int32_t* at = block_table + static_cast<int64_t>(sequence) * table_columns + index;
    const int entry = past_l1 ? __ldcg(at) : *at;
    const int page = min(max(entry, 0), pages - 1);
    return (static_cast<uint32_t>(page) * kv_heads + kv_head) * page_size + key % page_size;
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

// Whether the tensor-core kernels take the problem: 16-bit elements, heads of a multiple of 8 up to
// 256 elements, and addresses that allow 16-byte loads.
inline bool fits_tensor_cores(const Problem& problem) {
  const int64_t cache_rows = int64_t{problem.pages} * problem.kv_heads * problem.page_size;
  return problem.dtype != DType::F32 && problem.dim % 8 == 0 && problem.dim <= 256 &&
         cache_rows < (int64_t{1} << 32) && vector_aligned(problem.q, problem.q_stride, 2) &&
         vector_aligned(problem.key_cache, 0, 2) && vector_aligned(problem.value_cache, 0, 2) &&
         vector_aligned(problem.out, 0, 2);
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

// At most one row a sequence (decode.cu). The workspace holds what its splits hand over.
size_t decode_workspace(const Problem& problem, const Context& context);
void run_decode(const Problem& problem, Context& context, void* workspace);

// Any rows (prefill.cu).
void run_prefill(const Problem& problem, Context& context);

// Any rows, head dimensions and dtypes, slowly (generic.cu).
void run_generic(const Problem& problem, Context& context);

}  // namespace fewbit::cuda::attention
