import { computed, type LinearInput } from '../../nn/linear-input';
import {
  type AffineActivationBits,
  type AffineActivations,
  affineQuantize,
  normQuantize,
  normReorder,
} from '../../ops';
import type { Tensor } from '../../tensor';

/**
 * An input in the order of a weight's columns. A norm before it writes it so, which costs nothing; an
 * input that comes by itself is put in order here.
 * @param order i32[K]: the column of the input at each place; undefined where that is the place
 */
export function orderedInput(
  input: LinearInput,
  order: Tensor | undefined,
): { x: Tensor; order?: Tensor | undefined } {
  const { x, gated, residual, norm } = input;
  if (!norm || gated || !order) return { x: computed(input), order };
  return { x: normReorder(x, { ...norm.gains, residual }, order) };
}

/** How an input is made to codes. */
export interface InputGrid {
  /** f32[2, K]: scales, then zero points, by place. */
  readonly grid: Tensor;
  readonly bits: AffineActivationBits;
  readonly order?: Tensor | undefined;
  /** Width of the blocks that are rotated first; absent for none, and where a norm comes before. */
  readonly rotation?: number | undefined;
}

/** The codes of an input, in the order of a weight's columns. */
export function codedInput(input: LinearInput, how: InputGrid): AffineActivations {
  const { x, gated, residual, norm } = input;
  if (norm && !gated) return normQuantize(x, { ...norm.gains, residual }, how);
  if (norm) return affineQuantize(computed(input), how);
  return affineQuantize(x, { ...how, gated });
}
