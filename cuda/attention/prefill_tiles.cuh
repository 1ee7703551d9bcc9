// The tiles that prefill_hopper.cu works on, in shared memory, and what moves them there.
#pragma once

#include "../common/hopper.cuh"
#include "problem.cuh"
#include "row_table.cuh"

namespace fewbit::cuda::attention::prefill {

constexpr int kRows = 128;
constexpr int kKeys = 128;  // of a tile
constexpr int kStages = 2;
constexpr int kConsumers = 256;
constexpr int kThreads = 128 + kConsumers;
constexpr int kConsumerWarps = kConsumers / 32;
constexpr int kColumnBytes = 128;  // tiles are split into columns of 64 elements

template <int Columns>
struct Tile {
  unsigned char bytes[Columns][kKeys][kColumnBytes];
};

template <int Columns>
struct Shared {
  Tile<Columns> query;  // kRows == kKeys
  Tile<Columns> keys[kStages];
  Tile<Columns> values[kStages];
  uint64_t keys_full[kStages], keys_empty[kStages];
  uint64_t values_full[kStages], values_empty[kStages];
  RowTable<kRows> rows;
};

struct Stage {
  int index = 0;
  uint32_t phase = 0;
  __device__ void next() {
    if (++index == kStages) index = 0, phase ^= 1;
  }
};

// One warp: every lane brings one box of a tile, as many keys as lie together in a page.
template <int Columns>
__device__ void bring_tiles(const Problem& problem, Shared<Columns>& shared,
                            const CUtensorMap& key_map, const CUtensorMap& value_map, int kv_head,
                            int box_keys) {
  const int lane = threadIdx.x % 32, boxes = kKeys / box_keys;
  Stage stage;
  const auto bring = [&](Tile<Columns>& tile, const CUtensorMap& map, uint64_t& full,
                         uint64_t& empty, int row) {
    hopper::wait(empty, stage.phase ^ 1);
    if (lane == 0) hopper::arrive_expecting(full, sizeof(Tile<Columns>));
    __syncwarp();
    if (lane >= boxes) return;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      hopper::copy_box(tile.bytes[c][lane * box_keys], map, full, c * kColumnBytes, row);
    }
  };
  for (int start = next_sequence(shared.rows, -1); start < kRows;
       start = next_sequence(shared.rows, start)) {
    const int tiles = shared.rows.largest[start] / kKeys + 1;
    const int last_box = shared.rows.largest[start] / box_keys * box_keys;
    for (int tile = 0; tile < tiles; ++tile, stage.next()) {
      const int key = min(tile * kKeys + lane * box_keys, last_box);
      const int row = problem.cache_row(shared.rows.sequence[start], kv_head, key);
      const int i = stage.index;
      bring(shared.keys[i], key_map, shared.keys_full[i], shared.keys_empty[i], row);
      bring(shared.values[i], value_map, shared.values_full[i], shared.values_empty[i], row);
    }
  }
}

// Rows of a warpgroup into the swizzled tile.
template <class T, int Columns>
__device__ void load_query(const Problem& problem, Tile<Columns>& tile, int first_row, int head,
                           int group) {
  for (int i = threadIdx.x % 128; i < 64 * Columns * 8; i += 128) {
    const int row = group * 64 + i / (Columns * 8), chunk = i % (Columns * 8);
    const T* from = problem.query<T>(min(first_row + row, problem.rows - 1), head) + chunk * 8;
    unsigned char* to = tile.bytes[chunk / 8][row] + (chunk % 8 ^ row % 8) * 16;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
  }
  hopper::copies_follow();
  if (group == 0) {
    hopper::named_sync<1, 128>();
  } else {
    hopper::named_sync<2, 128>();
  }
}

// What was never written may be NaN, which a weight of 0 does not undo. By all consumers.
template <int Columns>
__device__ void clear_values(Tile<Columns>& tile, int first, int thread) {
  for (int i = thread; i < Columns * (kKeys - first) * 8; i += kConsumers) {
    const int chunk = i % 8, row = first + i / 8 % (kKeys - first),
              column = i / 8 / (kKeys - first);
    *reinterpret_cast<uint4*>(tile.bytes[column][row] + chunk * 16) = uint4{};
  }
  hopper::copies_follow();
  hopper::named_sync<3, kConsumers>();
}

}  // namespace fewbit::cuda::attention::prefill
