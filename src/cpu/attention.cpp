#include "../ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "checks.h"
#include "cpu_op.h"
#include "kernels.h"
#include "parallel.h"

namespace fewbit::cpu {

namespace {

using namespace ops::attention;

constexpr int64_t kQueries = 16;  // that share what is read of the cache
constexpr int64_t kKeys = 64;     // between two updates of a running softmax

// Queries of one sequence and one key-value head, evenly spaced: either consecutive rows of one
// head (rows = true), or heads of one row.
struct QueryBlock {
  int64_t first_row, first_head;
  int64_t count;
  bool rows;
};

class Attention {
 public:
  explicit Attention(const OpCall& call)
      : call_(call),
        kernel_(kernels()),
        kv_heads_(call[key_cache].shape[1]),
        page_size_(call[key_cache].shape[2]),
        dim_(call[key_cache].shape[3]),
        heads_(call[q].cols() / dim_),
        group_(heads_ / kv_heads_),
        factor_(static_cast<float>(call.attrs[scale])) {}

  int64_t heads() const { return heads_; }
  int64_t group() const { return group_; }
  int64_t position(int64_t row) const { return call_[positions].as<int32_t>()[row]; }
  int64_t sequence(int64_t row) const { return call_[sequences].as<int32_t>()[row]; }

  // Throws unless every key that a row attends to lies in the cache.
  void check_row(int64_t row) const {
    if (position(row) < 0) return;
    const TensorView& table = call_[block_table];
    require_range(spec, sequences, row, sequence(row), 0, table.shape[0]);
    require_range(spec, positions, row, position(row), 0, table.shape[1] * page_size_);
    for (int64_t i = 0; i <= position(row) / page_size_; ++i) {
      const int64_t index = sequence(row) * table.shape[1] + i;
      require_range(spec, block_table, index, table.as<int32_t>()[index], 0,
                    call_[key_cache].shape[0]);
    }
  }

  void run(const QueryBlock& block) const {
    int64_t limits[kQueries];  // keys that each query attends to
    float largest[kQueries], sums[kQueries];
    int64_t keys = 0;
    for (int64_t i = 0; i < block.count; ++i) {
      limits[i] = position(block.rows ? block.first_row + i : block.first_row) + 1;
      largest[i] = -std::numeric_limits<float>::infinity();
      sums[i] = 0;
      keys = std::max(keys, limits[i]);
      std::fill_n(result(block, i), dim_, 0.0f);
    }
    for (int64_t begin = 0; begin < keys; begin += kKeys) {
      const int64_t end = std::min(begin + kKeys, keys);
      float scores[kQueries * kKeys];
      for_segments(
          block, begin, end,
          [&](const float* key, int64_t from, int64_t count) {
            kernel_.matmul[static_cast<int>(DType::F32)](query(block), query_stride(block), key,
                                                         dim_, dim_, block.count, count,
                                                         scores + from - begin, kKeys, false);
          },
          key_cache);
      for (int64_t i = 0; i < block.count; ++i) {
        const int64_t count = std::min(limits[i], end) - begin;
        if (count <= 0) continue;
        float* score = scores + i * kKeys;
        for (int64_t j = 0; j < count; ++j) score[j] *= factor_;
        update(score, count, largest[i], sums[i], result(block, i));
        for_segments(
            block, begin, begin + count,
            [&](const float* value, int64_t from, int64_t length) {
              kernel_.rank_update(score + from - begin, length, value, dim_, dim_,
                                  result(block, i));
            },
            value_cache);
      }
    }
    for (int64_t i = 0; i < block.count; ++i) {
      if (limits[i] <= 0) continue;
      const float inverse = 1.0f / sums[i];
      float* y = result(block, i);
      for (int64_t d = 0; d < dim_; ++d) y[d] *= inverse;
    }
  }

 private:
  const float* query(const QueryBlock& block) const {
    return call_[q].as<float>() + block.first_row * call_[q].row_stride() + block.first_head * dim_;
  }
  int64_t query_stride(const QueryBlock& block) const {
    return block.rows ? call_[q].row_stride() : dim_;
  }
  float* result(const QueryBlock& block, int64_t i) const {
    return call_[out].as<float>() + block.first_row * heads_ * dim_ + block.first_head * dim_ +
           i * (block.rows ? heads_ * dim_ : dim_);
  }

  // Calls body(pointer, first key, keys) for each run of keys begin .. end that lies in one page.
  template <class Body>
  void for_segments(const QueryBlock& block, int64_t begin, int64_t end, const Body& body,
                    int cache) const {
    const TensorView& table = call_[block_table];
    const int32_t* pages = table.as<int32_t>() + sequence(block.first_row) * table.shape[1];
    const int64_t kv_head = block.first_head / group_;
    for (int64_t key = begin; key < end;) {
      const int64_t offset = key % page_size_;
      const int64_t count = std::min(end - key, page_size_ - offset);
      const int64_t place = (pages[key / page_size_] * kv_heads_ + kv_head) * page_size_ + offset;
      body(call_[cache].as<float>() + place * dim_, key, count);
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

  const OpCall& call_;
  const Kernels& kernel_;
  const int64_t kv_heads_, page_size_, dim_, heads_, group_;
  const float factor_;
};

// Rows of one sequence that follow each other share their keys; a lone row shares them among the
// heads of its group.
std::vector<QueryBlock> plan(const Attention& attention, int64_t rows) {
  std::vector<QueryBlock> blocks;
  for (int64_t row = 0; row < rows;) {
    int64_t count = 1;
    while (count < kQueries && row + count < rows && attention.position(row) >= 0 &&
           attention.position(row + count) >= 0 &&
           attention.sequence(row + count) == attention.sequence(row)) {
      ++count;
    }
    if (count > 1) {
      for (int64_t head = 0; head < attention.heads(); ++head) {
        blocks.push_back({row, head, count, true});
      }
    } else {
      for (int64_t first = 0; first < attention.heads(); first += attention.group()) {
        for (int64_t i = 0; i < attention.group(); i += kQueries) {
          blocks.push_back({row, first + i, std::min(kQueries, attention.group() - i), false});
        }
      }
    }
    row += count;
  }
  return blocks;
}

void run(const OpCall& call, ThreadPool& pool) {
  require_f32(spec, call, {q});
  const int64_t rows = call[q].rows();
  const Attention attention(call);
  for (int64_t row = 0; row < rows; ++row) attention.check_row(row);
  const std::vector<QueryBlock> blocks = plan(attention, rows);
  pool.parallel_for(static_cast<int64_t>(blocks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) attention.run(blocks[i]);
  });
}

const CpuOp op(spec, run);

}  // namespace

}  // namespace fewbit::cpu
