import { KvCache } from '../engine/kv-cache';
import { OptionsError } from '../errors';
import type { Transformer } from '../models/transformer';
import { tokenNll } from '../ops';

/**
 * Scores windows op by op instead of as a recorded program, so that hooks on the modules see (and
 * may change) every value. It keeps a cache of its own for one window.
 */
export class EagerScorer {
  readonly #transformer: Transformer;
  readonly #cache: KvCache;
  readonly #window: number;

  /**
   * @param window most ids of one window
   * @param cacheShape of the cache, if not the one that the model asks for
   */
  constructor(transformer: Transformer, window: number, cacheShape = transformer.cacheShape) {
    if (window > transformer.maxPositions) {
      throw new OptionsError(
        `window is ${window}, but the context is limited to ${transformer.maxPositions}: choose a ` +
          'smaller window',
      );
    }
    this.#transformer = transformer;
    this.#window = window;
    this.#cache = new KvCache(transformer.device, cacheShape, 1, window);
  }

  /** -log p(id i + 1 | ids 0 .. i) for each i, in nats. Runs on the caller's thread. */
  nll(ids: readonly number[]): Float32Array {
    const { vocabSize } = this.#transformer;
    const wrong = ids.find((id) => !(Number.isSafeInteger(id) && id >= 0 && id < vocabSize));
    if (wrong !== undefined) {
      throw new OptionsError(`${wrong} is not a token id: they go from 0 to ${vocabSize - 1}`);
    }
    if (ids.length < 2 || ids.length > this.#window) {
      throw new OptionsError(`a window has 2 to ${this.#window} ids, got ${ids.length}`);
    }
    const { device } = this.#transformer;
    return device.scope(() => {
      const ints = (values: Iterable<number>, shape = [ids.length]) =>
        device.empty('i32', shape).write(Int32Array.from(values));
      const hidden = this.#transformer.forward({
        ids: ints(ids),
        positions: ints(ids.keys()),
        slots: ints(ids.keys()),
        sequences: ints(ids.map(() => 0)),
        blockTable: ints([0], [1, 1]),
        cache: this.#cache.layers,
        decode: false,
      });
      const nll = tokenNll(this.#transformer.logits(hidden), ints([...ids.slice(1), -1]));
      return (nll.read() as Float32Array).subarray(0, ids.length - 1);
    });
  }

  dispose(): void {
    this.#cache.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
