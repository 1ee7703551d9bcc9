import type { ForwardBatch } from '../nn/causal-lm';
import type { LinearInput } from '../nn/linear-input';
import type { LinearModule } from '../nn/linear-module';
import type { Norm } from '../nn/norm';
import type { LayerCache } from '../ops';
import type { Tensor } from '../tensor';

/** Hidden states between two layers. */
export interface HiddenState {
  /** float[T, D]. Layers add to it in place. */
  readonly residual: Tensor;
  /** What the last block computed and did not add itself: the next norm does, while it reads both. */
  readonly delta?: Tensor | undefined;
}

/** What a layer reads besides hidden states. */
export interface LayerInputs extends Omit<ForwardBatch, 'cache'> {
  readonly cache: LayerCache;
  /** f32[P, headDim], of models with rotary positions. */
  readonly rope: Tensor | undefined;
}

/** One layer of the stack. Its modules are those that `ModelBuilder.layers` saw it make. */
export interface DecoderLayer {
  forward(state: HiddenState, inputs: LayerInputs): HiddenState;
}

/**
 * What an architecture file builds: its shapes for the cache, and its forward pass in the parts that
 * can be loaded and run one at a time.
 */
export interface Decoder {
  readonly kvHeads: number;
  readonly headDim: number;
  /** Ids and positions to float[T, D]. */
  embed(batch: Pick<ForwardBatch, 'ids' | 'positions'>): Tensor;
  readonly layers: readonly DecoderLayer[];
  /** What the last layer left, to hidden states float[T, D] after the final norm. */
  finish(state: HiddenState): Tensor;
  readonly head: LinearModule;
}

/** The norm of the residual with the pending delta added to it. */
export function normOf(norm: Norm, { residual, delta }: HiddenState): Tensor {
  return delta ? norm.forward(delta, residual) : norm.forward(residual);
}

/** The same as the input of linear layers, which may compute the norm themselves. */
export function normedInput(norm: Norm, { residual, delta }: HiddenState): LinearInput {
  return delta ? { x: delta, residual, norm } : { x: residual, norm };
}
