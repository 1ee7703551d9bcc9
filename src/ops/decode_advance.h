// Moves the inputs of a decode step one token on, so that the next step can start without the host:
//   ids[b] = tokens[b]; positions[b] += 1; steps[b] += 1;
//   slots[b] = block_table[b, positions[b] / page_size] * page_size + positions[b] % page_size
// A row with a negative position is padding and stays as it is. A page that is not there (a
// negative entry, or past the table's end) gives slot -1.
// tokens, ids, positions, slots, steps i32[B]; block_table i32[B, P].
#pragma once

#include "../core/op_spec.h"

namespace fewbit::ops::decode_advance {

enum Tensor { tokens, block_table, ids, positions, slots, steps };
enum Attr { page_size };

inline const OpSpec spec{
    "decode_advance",
    {{"tokens", Access::Read},
     {"block_table", Access::Read},
     {"ids", Access::Update},
     {"positions", Access::Update},
     {"slots", Access::Update},
     {"steps", Access::Update}},
    {"page_size"},
    [](const OpCall& call) {
      const int64_t rows = call[tokens].shape[0];
      Checker check(spec, call);
      for (int tensor : {tokens, ids, positions, slots, steps}) {
        check.shape(tensor, {rows}).dtype(tensor, {DType::I32});
      }
      check.shape(block_table, {rows, -1}).dtype(block_table, {DType::I32}).contiguous(block_table);
    }};

}  // namespace fewbit::ops::decode_advance
