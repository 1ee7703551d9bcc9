#include "../ops/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/philox.h"
#include "cpu_op.h"

namespace fewbit::cpu {

namespace {

using namespace ops::sample;

constexpr int32_t kInactive = -1;
constexpr int32_t kNoDistribution = -2;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// No Gumbel noise exceeds this: -log(-log(1 - 2^-33)) = 22.87...
constexpr double kLargestNoise = 22.9;

struct Candidate {
  float logit;
  uint64_t mass;
};

bool more_likely(const Candidate& a, const Candidate& b) { return a.logit > b.logit; }

// The probability relative to the largest, in units of 2^-40.
uint64_t mass_of(float logit, float largest) {
  if (logit == largest) return uint64_t{1} << 40;  // infinities too
  return static_cast<uint64_t>(std::exp(double{logit} - largest) * 0x1p40);
}

double gumbel_noise(int32_t token, int32_t step, int64_t seed) {
  const uint32_t counter[4] = {static_cast<uint32_t>(token), static_cast<uint32_t>(step), 0, 0};
  const uint32_t key[2] = {static_cast<uint32_t>(seed),
                           static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32)};
  uint32_t words[4];
  philox4x32_10(counter, key, words);
  return -std::log(-std::log((words[0] + 0.5) * 0x1p-32));
}

// One row on its way from logits to a token.
class Row {
 public:
  // values and candidates are scratch space for vocab entries.
  Row(const float* logits, const float* params, const uint8_t* seen, int64_t vocab, float* values,
      Candidate* candidates)
      : params_(params), vocab_(vocab), values_(values), candidates_(candidates) {
    const float penalty = params[repetition_penalty];
    for (int64_t i = 0; i < vocab; ++i) {
      float logit = logits[i];
      if (seen && seen[i]) logit = logit > 0 ? logit / penalty : logit * penalty;
      values[i] = logit;
      has_nan_ |= std::isnan(logit);
    }
  }

  int32_t draw(int64_t seed, int32_t step) {
    const auto best = static_cast<int32_t>(std::max_element(values_, values_ + vocab_) - values_);
    if (has_nan_ || vocab_ == 0 || values_[best] == kMinusInfinity) return kNoDistribution;
    if (params_[temperature] == 0) return best;
    for (int64_t i = 0; i < vocab_; ++i) values_[i] /= params_[temperature];
    largest_ = values_[best];
    keep_top_k();
    keep_top_p();
    keep_min_p();
    return perturbed_argmax(best, seed, step);
  }

 private:
  // Whatever is less likely than floor_ is out.
  bool survives(float logit) const { return logit >= floor_ && logit > kMinusInfinity; }

  void keep_top_k() {
    const double k = params_[top_k];
    if (k < 1 || k >= static_cast<double>(vocab_)) return;
    const int64_t count = static_cast<int64_t>(k);
    auto* sorted = reinterpret_cast<float*>(candidates_);
    std::copy(values_, values_ + vocab_, sorted);
    std::nth_element(sorted, sorted + count - 1, sorted + vocab_, std::greater<float>());
    floor_ = sorted[count - 1];
  }

  // Selects by halves: O(vocab), where sorting would not be.
  void keep_top_p() {
    const double p = params_[top_p];
    if (p >= 1) return;
    int64_t count = 0;
    uint64_t total = 0;
    for (int64_t i = 0; i < vocab_; ++i) {
      if (!survives(values_[i])) continue;
      candidates_[count] = {values_[i], mass_of(values_[i], largest_)};
      total += candidates_[count++].mass;
    }
    const double needed = p * static_cast<double>(total);
    int64_t low = 0, high = count;  // the last token of the set lies in low .. high
    uint64_t before = 0;            // the mass of those in front of low
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      std::nth_element(candidates_ + low, candidates_ + middle, candidates_ + high, more_likely);
      uint64_t mass = before;
      for (int64_t i = low; i < middle; ++i) mass += candidates_[i].mass;
      if (static_cast<double>(mass) >= needed) {
        high = middle;
      } else {
        before = mass;
        low = middle;
      }
    }
    floor_ = std::max(floor_, candidates_[low].logit);
  }

  void keep_min_p() {
    const double p = params_[min_p];
    if (p <= 0) return;
    least_ = std::log(p);
  }

  int32_t perturbed_argmax(int32_t best, int64_t seed, int32_t step) const {
    int32_t winner = best;
    double highest = distance(best) + gumbel_noise(best, step, seed);
    for (int32_t i = 0; i < vocab_; ++i) {
      if (i == best || !survives(values_[i])) continue;
      const double logit = distance(i);
      // Most tokens are too unlikely for any noise to lift them.
      if (logit < least_ || logit + kLargestNoise < highest) continue;
      const double score = logit + gumbel_noise(i, step, seed);
      if (score > highest || (score == highest && i < winner)) {
        highest = score;
        winner = i;
      }
    }
    return winner;
  }

  double distance(int32_t token) const {
    return values_[token] == largest_ ? 0.0 : double{values_[token]} - largest_;
  }

  const float* params_;
  const int64_t vocab_;
  float* values_;
  Candidate* candidates_;
  bool has_nan_ = false;
  float largest_ = 0;
  float floor_ = kMinusInfinity;
  double least_ = -std::numeric_limits<double>::infinity();
};

// Rows drawn at a time, each with scratch space of its own.
constexpr int64_t kLanes = 16;

size_t scratch_bytes(int64_t vocab) {
  return (vocab * (sizeof(float) + sizeof(Candidate)) + 63) / 64 * 64;
}

void draw_row(const OpCall& call, int64_t b, Candidate* candidates) {
  const int64_t vocab = call[logits].shape[1];
  const float* param = call[params].as<float>() + b * param_count;
  int32_t& token = call[out].as<int32_t>()[b];
  token = kInactive;
  if (param[temperature] < 0) return;
  uint8_t* marks = call[seen] ? call[seen].as<uint8_t>() + b * vocab : nullptr;
  auto* values = reinterpret_cast<float*>(candidates + vocab);
  Row row(call[logits].as<float>() + b * vocab, param, marks, vocab, values, candidates);
  token = row.draw(call[seeds].as<int64_t>()[b], call[steps].as<int32_t>()[b]);
  if (marks && token >= 0) marks[token] = 1;
}

void run(const OpCall& call, ThreadPool& pool) {
  const int64_t rows = call[out].elements();
  const size_t bytes = scratch_bytes(call[logits].shape[1]);
  pool.parallel_for(std::min(rows, kLanes), 1, [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) {
      auto* scratch = static_cast<char*>(call.workspace) + lane * bytes;
      for (int64_t b = lane; b < rows; b += kLanes) {
        draw_row(call, b, reinterpret_cast<Candidate*>(scratch));
      }
    }
  });
}

size_t workspace(const OpCall& call) {
  return std::min(call[out].elements(), kLanes) * scratch_bytes(call[logits].shape[1]);
}

const CpuOp op(spec, run, workspace);

}  // namespace

}  // namespace fewbit::cpu
