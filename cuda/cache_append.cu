// cache_append on CUDA: see src/ops/cache_append.h.
#include "../src/ops/cache_append.h"

#include "attention/rotary.cuh"
#include "common/cuda_op.h"
#include "elementwise/map_rows.cuh"

namespace fewbit::cuda {
namespace {

// A row of work is the first halves of all heads of q, then of k, then of v, one after the other:
// an element of it stands for itself and its partner D/2 further on.
template <class T>
struct CacheAppend {
  static constexpr int kWidth = kVectorSize<T>;
  T* q;
  const T* k;
  const T* v;
  const int32_t* positions;
  const int32_t* slots;
  const float* rope;  // null: no rotation
  T* key_cache;
  T* value_cache;
  int64_t q_stride, k_stride, v_stride;
  int64_t rope_rows, cache_slots;
  int32_t query_heads, kv_heads, half, page_size;

  __device__ int64_t cache_offset(int32_t slot, int head) const {
    const int64_t page = slot / page_size;
    return ((page * kv_heads + head) * page_size + slot % page_size) * (2 * half);
  }

  template <int Count>
  __device__ void move(const T* from, T* to, const float* angles) const {
    auto first = load_pack<Count>(from);
    auto second = load_pack<Count>(from + half);
    if (angles) rotate(first, second, angles, half);
    store_pack(to, first);
    store_pack(to + half, second);
  }

  template <int Count>
  __device__ void run(int64_t row, int64_t column) const {
    const int32_t slot = slots[row], position = positions[row];
    if (slot < 0 || slot >= cache_slots) return;
    if (rope && (position < 0 || position >= rope_rows)) return;
    int head = static_cast<int>(column) / half;
    const int element = static_cast<int>(column) % half;
    const float* angles = rope ? rope + int64_t{position} * 2 * half + element : nullptr;
    if (head < query_heads) {
      if (!rope) return;
      T* at = q + row * q_stride + head * 2 * half + element;
      return move<Count>(at, at, angles);
    }
    head -= query_heads;
    if (head < kv_heads) {
      return move<Count>(k + row * k_stride + head * 2 * half + element,
                         key_cache + cache_offset(slot, head) + element, angles);
    }
    head -= kv_heads;
    move<Count>(v + row * v_stride + head * 2 * half + element,
                value_cache + cache_offset(slot, head) + element, nullptr);
  }
};

void run(const OpCall& call, Context& context) {
  using namespace ops::cache_append;
  with_float(call[q].dtype, [&](auto zero) {
    using T = decltype(zero);
    const TensorView& cache = call[key_cache];
    const int64_t dim = cache.shape[3], half = dim / 2;
    const CacheAppend<T> body{.q = call[q].as<T>(),
                              .k = call[k].as<T>(),
                              .v = call[v].as<T>(),
                              .positions = call[positions].as<int32_t>(),
                              .slots = call[slots].as<int32_t>(),
                              .rope = call[rope].as<float>(),
                              .key_cache = call[key_cache].as<T>(),
                              .value_cache = call[value_cache].as<T>(),
                              .q_stride = call[q].row_stride(),
                              .k_stride = call[k].row_stride(),
                              .v_stride = call[v].row_stride(),
                              .rope_rows = call[rope] ? call[rope].shape[0] : 0,
                              .cache_slots = cache.shape[0] * cache.shape[2],
                              .query_heads = static_cast<int32_t>(call[q].cols() / dim),
                              .kv_heads = static_cast<int32_t>(cache.shape[1]),
                              .half = static_cast<int32_t>(half),
                              .page_size = static_cast<int32_t>(cache.shape[2])};
    const bool aligned = vector_aligned(body.q, body.q_stride, sizeof(T)) &&
                         vector_aligned(body.k, body.k_stride, sizeof(T)) &&
                         vector_aligned(body.v, body.v_stride, sizeof(T)) &&
                         vector_aligned(body.rope, half, sizeof(float)) &&
                         vector_aligned(body.key_cache, half, sizeof(T)) &&
                         vector_aligned(body.value_cache, half, sizeof(T));
    const int64_t heads = body.query_heads + 2 * body.kv_heads;
    map_rows("cache_append", context, call[q].rows(), heads * half, aligned, body);
  });
}

const CudaOp op("cache_append", run);

}  // namespace
}  // namespace fewbit::cuda
