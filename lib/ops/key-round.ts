import type { Tensor } from '../tensor';
import type { KvBits } from './attention-quantized';

/**
 * Rotates q and k in place (when `rope` is given) and replaces k by keys of its grid whose errors
 * make up for each other; see `src/ops/key_round.h`.
 * @param q float[T, heads * headDim] @param k float[T, kvHeads * headDim]
 * @param where positions i32[T], rope f32[P, headDim], grid f32[2, kvHeads * headDim],
 * feedback f16[kvHeads, headDim, headDim]
 */
export function keyRound(
  q: Tensor,
  k: Tensor,
  where: {
    positions: Tensor;
    rope?: Tensor | undefined;
    grid: Tensor;
    feedback: Tensor;
    bits: KvBits;
  },
): void {
  const { positions, rope, grid, feedback, bits } = where;
  q.device.run('key_round', [q, k, positions, rope, grid, feedback], [bits]);
}

/** Channels of the groups that `keyRound` rounds a head in, one after the other. */
export function keyGroups(headDim: number): number[] {
  const groups: number[] = [];
  for (let left = headDim; left > 0; left -= groups.at(-1) as number) {
    groups.push(Math.ceil(left / 2));
  }
  return groups;
}
