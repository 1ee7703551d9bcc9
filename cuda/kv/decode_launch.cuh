// The launch of decode.cuh for a width of codes: each of decode_8.cu, decode_4.cu and decode_3.cu
// instantiates one.
#pragma once

#include <algorithm>

#include "../common/zeroed.h"
#include "decode.cuh"

namespace fewbit::cuda::kv {

// Heads of a group that one block treats.
inline int columns_of(const Problem& problem) { return problem.group <= kColumnHeads ? 1 : 2; }

inline int head_tiles_of(const Problem& problem) {
  const int heads = kColumnHeads * columns_of(problem);
  return (problem.group + heads - 1) / heads;
}

// Splits of a row join in a cluster, or through the workspace (splits.cu).
inline bool joins_in_cluster(const Context& context) { return context.properties.major >= 9; }
int split_count(const Problem& problem, const Context& context);
size_t sums_bytes(const Problem& problem, int splits);

template <int Bits, int Dim, bool Dynamic, int Columns>
void launch_decode(const Problem& problem, const Append& append, const Splits& splits,
                   Context& context) {
  const auto kernel = decode_kernel<Bits, Dim, Dynamic, Columns>;
  const bool cluster = !splits.sums;
  const Launch config{
      .name = "decode_attention_quantized",
      .grid = dim3(splits.count, problem.kv_heads * head_tiles_of(problem), problem.rows),
      .block = dim3(kSplitThreads),
      .shared_bytes = sizeof(Memory<Bits, Dim, Dynamic>),
      .cluster = cluster ? splits.count : 1,
      .overlap = true};
  if (config.cluster > 8) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          config.name);
  }
  launch(config, context, kernel, problem, append, splits);
}

// Calls visit with the head dimension as a constant.
template <class Visit>
void with_dim(const Problem& problem, Visit visit) {
  if (problem.dim == 64) return visit(std::integral_constant<int, 64>{});
  if (problem.dim == 80) return visit(std::integral_constant<int, 80>{});
  visit(std::integral_constant<int, 128>{});
}

template <int Bits>
size_t decode_shared_bytes(const Problem& problem) {
  size_t bytes = 0;
  with_dim(problem, [&](auto dim) {
    bytes =
        problem.key_grid ? sizeof(Memory<Bits, dim(), false>) : sizeof(Memory<Bits, dim(), true>);
  });
  return bytes;
}

template <int Bits>
void run_decode(const Problem& problem, const Append& append, Context& context, void* workspace) {
  Splits splits{};
  splits.count = split_count(problem, context);
  if (splits.count > 1 && !joins_in_cluster(context)) {
    char* bytes = static_cast<char*>(workspace);
    splits.sums = reinterpret_cast<attention::SplitSum*>(bytes);
    splits.values = reinterpret_cast<float*>(bytes + sums_bytes(problem, splits.count));
    splits.arrivals = context.zeroed->words();
  }
  // The least power of two from 4 on whose multiples cover a head.
  const int share = std::max((problem.dim + splits.count - 1) / splits.count, 4);
  splits.share = std::bit_width(static_cast<unsigned>(share - 1));
  with_dim(problem, [&](auto dim) {
    const auto with_columns = [&](auto columns) {
      if (problem.key_grid) {
        launch_decode<Bits, dim(), false, columns()>(problem, append, splits, context);
      } else {
        launch_decode<Bits, dim(), true, columns()>(problem, append, splits, context);
      }
    };
    if (columns_of(problem) == 1) return with_columns(std::integral_constant<int, 1>{});
    with_columns(std::integral_constant<int, 2>{});
  });
}

}  // namespace fewbit::cuda::kv
