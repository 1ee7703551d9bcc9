import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { KvCache } from '../engine/kv-cache';
import type { Transformer } from '../models/transformer';
import type { Tensor } from '../tensor';

/** Sees the input float[T, K] of the linear layers that read it. */
export type LinearInputHook = (names: readonly string[], x: Tensor) => void;

const LAYER = /\.layers\.(\d+)\./;

class StopPass extends Error {}

/** Passes calibration windows through a model, op by op, and shows inputs of linear layers. */
export class Calibration {
  readonly #transformer: Transformer;
  readonly #windows: readonly (readonly number[])[];
  readonly #cache: KvCache;

  constructor(transformer: Transformer, windows: readonly (readonly number[])[]) {
    this.#transformer = transformer;
    this.#windows = windows;
    const longest = windows.reduce((most, { length }) => Math.max(most, length), 1);
    this.#cache = new KvCache(transformer.device, transformer.cacheShape, 1, longest);
  }

  /**
   * Names of the linear layers that share an input, in the order in which they run; only those
   * inside of blocks.
   */
  groups(): string[][] {
    const found: string[][] = [];
    const first = this.#windows[0] as readonly number[];
    this.run(first, (names) => {
      if (LAYER.test(names[0] as string)) found.push([...names]);
    });
    return found;
  }

  /**
   * Shows the inputs of some groups for every window. A window goes no further than the last of
   * them. The event loop gets a turn between windows.
   */
  async pass(
    groups: readonly (readonly string[])[],
    hook: LinearInputHook,
    signal?: AbortSignal,
  ): Promise<void> {
    const wanted = new Map(groups.map((names) => [names[0], names]));
    const last = groups.at(-1)?.[0];
    for (const window of this.#windows) {
      await yieldToEvents();
      signal?.throwIfAborted();
      this.run(window, (names, x) => {
        if (!wanted.has(names[0])) return;
        hook(names, x);
        if (names[0] === last) throw new StopPass();
      });
    }
  }

  [Symbol.dispose](): void {
    this.#cache.dispose();
  }

  private run(ids: readonly number[], hook: LinearInputHook): void {
    const transformer = this.#transformer;
    const { device, context } = transformer;
    const outer = context.onLinearInput;
    context.onLinearInput = hook;
    try {
      device.scope(() => {
        const ints = (values: Iterable<number>, shape = [ids.length]) =>
          device.empty('i32', shape).write(Int32Array.from(values));
        transformer.forward({
          ids: ints(ids),
          positions: ints(ids.keys()),
          slots: ints(ids.keys()),
          sequences: ints(ids.map(() => 0)),
          blockTable: ints([0], [1, 1]),
          cache: this.#cache.layers,
          decode: false,
        });
        return undefined;
      });
    } catch (error) {
      if (!(error instanceof StopPass)) throw error;
    } finally {
      context.onLinearInput = outer;
    }
  }
}

/** Groups of the same block together, in order. */
export function byBlock(groups: readonly string[][]): string[][][] {
  const blocks = new Map<string, string[][]>();
  for (const names of groups) {
    const block = LAYER.exec(names[0] as string)?.[1] ?? '';
    blocks.set(block, [...(blocks.get(block) ?? []), names]);
  }
  return [...blocks.values()];
}
