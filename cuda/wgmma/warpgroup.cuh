// wgmma: a warpgroup's asynchronous products of tiles 64 rows high, D [64, N] = A [64, K] B [N, K]^T
// (+ D), with K of 32 bytes. B, and A too or not, lie in shared memory and are given by descriptor; the
// sums, and A if not there, in registers. Thread i of the warpgroup holds, with r = i / 32 * 16 + i % 32
// / 4 and t = i % 4, of rows r and r + 8:
//   a[0] row r, bytes 4t .. 4t + 3;  a[1] row r + 8;  a[2], a[3]: the same rows, 16 bytes further
//   d[4j .. 4j+3] rows r, r, r + 8, r + 8, columns 8j + 2t + {0, 1, 0, 1}
// These registers belong to the instruction until it has been waited for.
#pragma once

#include <cstdint>

#include "../common/hopper.cuh"

namespace fewbit::cuda::hopper {

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// Descriptor of a tile of 128-byte rows with the 128-byte swizzle, 1024-byte aligned; `stride` is the
// field that only tiles with K along their columns use.
__device__ __forceinline__ uint64_t swizzled_descriptor(const void* tile, uint64_t stride) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kEightRows | stride << 16 | ((shared_address(tile) & 0x3ffffu) >> 4);
}

// With K along the rows of the tile. The next 32 bytes of K are at + 2.
__device__ __forceinline__ uint64_t tile_descriptor(const void* tile) {
  constexpr uint64_t kUnused = 1;
  return swizzled_descriptor(tile, kUnused);
}

// With K along the columns, of 16-bit elements: for a transposed B. A row of the tile holds 64 columns
// of B; tiles of the next 64 follow at tile_bytes. The next 16 of K are at + 128.
__device__ __forceinline__ uint64_t transposed_descriptor(const void* tile, uint32_t tile_bytes) {
  return swizzled_descriptor(tile, tile_bytes >> 4);
}

}  // namespace fewbit::cuda::hopper
