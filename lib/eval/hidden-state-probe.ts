import { setImmediate as yieldToEvents } from 'node:timers/promises';
import type { Transformer } from '../models/transformer';
import type { Tensor } from '../tensor';
import { EagerScorer } from './eager-scorer';
import { MeanNll } from './mean-nll';

/** Sees (and may change in place) a hidden state float[T, hiddenSize] of a layer. */
export type HiddenStateHook = (layer: number, x: Tensor) => void;

/** The contraction of the feed-forward part: its input is no hidden state. */
const CONTRACTION = /\.(fc2|down_proj)$/;
const LAYER = /\.layers\.(\d+)\./;

/**
 * Passes windows through a model and shows each hidden state that goes into a linear layer to a
 * hook: the inputs of the attention projections and of the feed-forward expansion.
 */
export class HiddenStateProbe {
  readonly #transformer: Transformer;
  readonly #windows: readonly number[][];
  readonly #scorer: EagerScorer;
  readonly #beforeWindow: () => void;

  /** @param beforeWindow may throw to end a pass */
  constructor(transformer: Transformer, windows: readonly number[][], beforeWindow: () => void) {
    this.#transformer = transformer;
    this.#windows = windows;
    this.#beforeWindow = beforeWindow;
    const longest = windows.reduce((most, { length }) => Math.max(most, length), 0);
    this.#scorer = new EagerScorer(transformer, longest);
  }

  /** Perplexity over all windows under the hook. The event loop gets a turn between windows. */
  async pass(
    hook: HiddenStateHook,
    afterWindow: (length: number) => void = () => {},
  ): Promise<number> {
    const mean = new MeanNll();
    for (const ids of this.#windows) {
      await yieldToEvents();
      this.#beforeWindow();
      mean.add(this.#hooked(hook, () => this.#scorer.nll(ids)));
      afterWindow(ids.length);
    }
    return mean.perplexity;
  }

  [Symbol.dispose](): void {
    this.#scorer.dispose();
  }

  #hooked<T>(hook: HiddenStateHook, body: () => T): T {
    const { context, config } = this.#transformer;
    const outer = context.onLinearInput;
    context.onLinearInput = (names, x) => {
      outer?.(names, x);
      const layer = LAYER.exec(names[0] as string)?.[1];
      if (layer === undefined || names.some((name) => CONTRACTION.test(name))) return;
      // Heads that are together wider or narrower than the hidden states have features of their own.
      if (x.shape[1] === config.hiddenSize) hook(Number(layer), x);
    };
    try {
      return body();
    } finally {
      context.onLinearInput = outer;
    }
  }
}
