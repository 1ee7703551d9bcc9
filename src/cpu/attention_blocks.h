// Causal attention over a paged cache, whatever form its keys and values have: a Cache gives runs
// of them as fp32 rows.
//   struct Cache {
//     int64_t pages, kv_heads, page_size, dim;
//     // Keys or values of `count` tokens of a page and head, from a place on:
//     // place = (page * kv_heads + head) * page_size + offset. scratch holds kAttentionKeys * dim.
//     const float* keys(int64_t place, int64_t count, float* scratch) const;
//     const float* values(int64_t place, int64_t count, float* scratch) const;
//   };
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../core/op_spec.h"
#include "checks.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

constexpr int64_t kAttentionQueries = 16;  // that share what is read of the cache
constexpr int64_t kAttentionKeys = 64;     // between two updates of a running softmax

// The operands that every form of attention has, by their places in the op's declaration.
struct AttentionOperands {
  const OpSpec& spec;
  const OpCall& call;
  int q, block_table, sequences, positions, out;
  float scale;

  int64_t position(int64_t row) const { return call[positions].as<int32_t>()[row]; }
  int64_t sequence(int64_t row) const { return call[sequences].as<int32_t>()[row]; }
};

// Queries of one sequence and one key-value head, evenly spaced: either consecutive rows of one
// head (rows = true), or heads of one row.
struct QueryBlock {
  int64_t first_row, first_head;
  int64_t count;
  bool rows;
};

template <class Cache>
class Attention {
 public:
  Attention(const AttentionOperands& operands, const Cache& cache)
      : operands_(operands),
        cache_(cache),
        kernel_(kernels()),
        dim_(cache.dim),
        heads_(operands.call[operands.q].cols() / dim_),
        group_(heads_ / cache.kv_heads) {}

  void run(ThreadPool& pool) const {
    const int64_t rows = operands_.call[operands_.q].rows();
    for (int64_t row = 0; row < rows; ++row) check_row(row);
    const std::vector<QueryBlock> blocks = plan(rows);
    pool.parallel_for(static_cast<int64_t>(blocks.size()), 1, [&](int64_t begin, int64_t end) {
      std::vector<float> scratch(kAttentionKeys * dim_);
      for (int64_t i = begin; i < end; ++i) run(blocks[i], scratch.data());
    });
  }

 private:
  // Throws unless every key that a row attends to lies in the cache.
  void check_row(int64_t row) const {
    const auto& [spec, call, q, block_table, sequences, positions, out, scale] = operands_;
    const int64_t position = operands_.position(row), sequence = operands_.sequence(row);
    if (position < 0) return;
    const TensorView& table = call[block_table];
    require_range(spec, sequences, row, sequence, 0, table.shape[0]);
    require_range(spec, positions, row, position, 0, table.shape[1] * cache_.page_size);
    for (int64_t i = 0; i <= position / cache_.page_size; ++i) {
      const int64_t index = sequence * table.shape[1] + i;
      require_range(spec, block_table, index, table.as<int32_t>()[index], 0, cache_.pages);
    }
  }

  // Rows of one sequence that follow each other share their keys; a lone row shares them among the
  // heads of its group.
  std::vector<QueryBlock> plan(int64_t rows) const {
    std::vector<QueryBlock> blocks;
    for (int64_t row = 0; row < rows;) {
      int64_t count = 1;
      while (count < kAttentionQueries && row + count < rows && operands_.position(row) >= 0 &&
             operands_.position(row + count) >= 0 &&
             operands_.sequence(row + count) == operands_.sequence(row)) {
        ++count;
      }
      if (count > 1) {
        for (int64_t head = 0; head < heads_; ++head) blocks.push_back({row, head, count, true});
      } else {
        for (int64_t first = 0; first < heads_; first += group_) {
          for (int64_t i = 0; i < group_; i += kAttentionQueries) {
            blocks.push_back({row, first + i, std::min(kAttentionQueries, group_ - i), false});
          }
        }
      }
      row += count;
    }
    return blocks;
  }

  void run(const QueryBlock& block, float* scratch) const {
    int64_t limits[kAttentionQueries];  // keys that each query attends to
    float largest[kAttentionQueries], sums[kAttentionQueries];
    int64_t keys = 0;
    for (int64_t i = 0; i < block.count; ++i) {
      limits[i] = operands_.position(block.rows ? block.first_row + i : block.first_row) + 1;
      largest[i] = -std::numeric_limits<float>::infinity();
      sums[i] = 0;
      keys = std::max(keys, limits[i]);
      std::fill_n(result(block, i), dim_, 0.0f);
    }
    const TensorView& q = operands_.call[operands_.q];
    const float* query = q.as<float>() + block.first_row * q.row_stride() + block.first_head * dim_;
    const int64_t query_stride = block.rows ? q.row_stride() : dim_;
    for (int64_t begin = 0; begin < keys; begin += kAttentionKeys) {
      const int64_t end = std::min(begin + kAttentionKeys, keys);
      float scores[kAttentionQueries * kAttentionKeys];
      for_segments(block, begin, end, [&](int64_t place, int64_t from, int64_t count) {
        const float* key = cache_.keys(place, count, scratch);
        kernel_.matmul[static_cast<int>(DType::F32)](query, query_stride, key, dim_, dim_,
                                                     block.count, count, scores + from - begin,
                                                     kAttentionKeys, false);
      });
      for (int64_t i = 0; i < block.count; ++i) {
        const int64_t count = std::min(limits[i], end) - begin;
        if (count <= 0) continue;
        float* score = scores + i * kAttentionKeys;
        for (int64_t j = 0; j < count; ++j) score[j] *= operands_.scale;
        update(score, count, largest[i], sums[i], result(block, i));
      }
      for_segments(block, begin, end, [&](int64_t place, int64_t from, int64_t count) {
        const float* value = cache_.values(place, count, scratch);
        for (int64_t i = 0; i < block.count; ++i) {
          const int64_t length = std::min(limits[i] - from, count);
          if (length <= 0) continue;
          const float* weights = scores + i * kAttentionKeys + from - begin;
          kernel_.rank_update(weights, length, value, dim_, dim_, result(block, i));
        }
      });
    }
    for (int64_t i = 0; i < block.count; ++i) {
      if (limits[i] <= 0) continue;
      const float inverse = 1.0f / sums[i];
      float* y = result(block, i);
      for (int64_t d = 0; d < dim_; ++d) y[d] *= inverse;
    }
  }

  float* result(const QueryBlock& block, int64_t i) const {
    return operands_.call[operands_.out].as<float>() + block.first_row * heads_ * dim_ +
           block.first_head * dim_ + i * (block.rows ? heads_ * dim_ : dim_);
  }

  // Calls body(place, first key, keys) for each run of keys begin .. end that lies in one page.
  template <class Body>
  void for_segments(const QueryBlock& block, int64_t begin, int64_t end, const Body& body) const {
    const TensorView& table = operands_.call[operands_.block_table];
    const int32_t* pages =
        table.as<int32_t>() + operands_.sequence(block.first_row) * table.shape[1];
    const int64_t kv_head = block.first_head / group_, page_size = cache_.page_size;
    for (int64_t key = begin; key < end;) {
      const int64_t offset = key % page_size;
      const int64_t count = std::min(end - key, page_size - offset);
      const int64_t page = pages[key / page_size];
      body((page * cache_.kv_heads + kv_head) * page_size + offset, key, count);
      key += count;
    }
  }

  // Turns scores into weights relative to the largest score so far, and what was summed under an
  // earlier largest one along with them.
  void update(float* score, int64_t count, float& largest, float& sum, float* y) const {
    const float next = std::max(largest, kernel_.max(score, count));
    if (next > largest) {
      const float shrink = std::exp(largest - next);
      sum *= shrink;
      for (int64_t d = 0; d < dim_; ++d) y[d] *= shrink;
      largest = next;
    }
    sum += kernel_.exp_sum(score, count, largest, score);
  }

  const AttentionOperands& operands_;
  const Cache& cache_;
  const Kernels& kernel_;
  const int64_t dim_, heads_, group_;
};

}  // namespace fewbit::cpu
