// Picks one token per row. Per row, in the order of Hugging Face's processors:
//   1. repetition penalty p: logit > 0 ? logit / p : logit * p, for tokens with seen = 1
//   2. temperature (0: the largest logit wins, the lowest id among equals, and the rest is skipped)
//   3. top-k (0: off): the k most likely tokens; equals of the k-th stay too
//   4. top-p (1: off): the smallest set of the most likely tokens left whose share of the mass left
//      reaches p; equals of the last one stay too
//   5. min-p (0: off): tokens at least p times as likely as the likeliest
//   6. argmax over the survivors of logit + Gumbel noise, which draws from their softmax
// Noise of token i: g = -log(-log(u)), u = (h + 0.5) / 2^32, h = the first word of
// philox4x32_10(counter = {i, step, 0, 0}, key = {seed lo, seed hi}): one seed and step give the
// same token whatever the batch. Mass counts in whole units of 2^-40 of the largest probability, so
// that the order of summation cannot matter.
// A row whose temperature is negative is inactive: out = -1. A row whose largest logit is NaN (or
// that holds none above -inf) yields -2, which callers report as an error. seen[out] is set to 1.
// logits f32[B, V]; params f32[B, 5] = temperature, top_k, top_p, min_p, repetition_penalty;
// seeds i64[B]; steps i32[B]; seen u8[B, V]; out i32[B].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::sample {

enum Tensor { logits, params, seeds, steps, seen, out };
enum Param { temperature, top_k, top_p, min_p, repetition_penalty, param_count };

inline const OpSpec spec{"sample",
                         {{"logits", Access::Read},
                          {"params", Access::Read},
                          {"seeds", Access::Read},
                          {"steps", Access::Read},
                          {"seen", Access::Update, true},
                          {"out", Access::Write}},
                         {},
                         [](const OpCall& call) {
                           const int64_t rows = call[logits].rows(), vocab = call[logits].cols();
                           Checker(spec, call)
                               .shape(logits, {-1, -1})
                               .dtype(logits, {DType::F32})
                               .shape(params, {rows, param_count})
                               .dtype(params, {DType::F32})
                               .shape(seeds, {rows})
                               .dtype(seeds, {DType::I64})
                               .shape(steps, {rows})
                               .dtype(steps, {DType::I32})
                               .shape(seen, {rows, vocab})
                               .dtype(seen, {DType::U8})
                               .shape(out, {rows})
                               .dtype(out, {DType::I32})
                               .contiguous(logits)
                               .contiguous(params)
                               .contiguous(seen);
                         }};

}  // namespace fewbit::ops::sample
