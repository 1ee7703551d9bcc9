import type { ForwardBatch } from '../nn/causal-lm';
import type { LinearModule } from '../nn/linear-module';
import type { Tensor } from '../tensor';

/** What an architecture file builds: its shapes for the cache, and its forward pass. */
export interface Decoder {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Ids to hidden states float[T, D] after the final norm. */
  forward(batch: ForwardBatch, rope: Tensor | undefined): Tensor;
  readonly head: LinearModule;
}
