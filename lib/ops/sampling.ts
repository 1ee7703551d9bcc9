import type { Tensor } from '../tensor';

/** Columns of the parameter matrix that `sample` reads, in order. */
export const SAMPLE_PARAMS = 5;

/**
 * One token per row; see `src/ops/sample.h` for the exact order of filters and noise.
 * @param logits f32[B, V]
 * @param inputs params f32[B, 5] (temperature, topK, topP, minP, repetitionPenalty), seeds i64[B],
 * steps i32[B], seen u8[B, V] @param tokens i32[B], overwritten
 */
export function sample(
  logits: Tensor,
  inputs: { params: Tensor; seeds: Tensor; steps: Tensor; seen?: Tensor | undefined },
  tokens: Tensor,
): void {
  const { params, seeds, steps, seen } = inputs;
  logits.device.run('sample', [logits, params, seeds, steps, seen, tokens]);
}

/** Turns the outcome of one decode step into the inputs of the next, on the device. All i32[B]. */
export function decodeAdvance(
  tokens: Tensor,
  blockTable: Tensor,
  state: { ids: Tensor; positions: Tensor; slots: Tensor; steps: Tensor },
  pageSize: number,
): void {
  const { ids, positions, slots, steps } = state;
  tokens.device.run(
    'decode_advance',
    [tokens, blockTable, ids, positions, slots, steps],
    [pageSize],
  );
}

/** -log p(target) per row, 0 where the target is negative. logits f32[T, V], targets i32[T]. */
export function tokenNll(logits: Tensor, targets: Tensor, out?: Tensor): Tensor {
  const nll = out ?? logits.device.empty('f32', [logits.shape[0] as number]);
  logits.device.run('token_nll', [logits, targets, nll]);
  return nll;
}
