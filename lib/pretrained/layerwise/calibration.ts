import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { KvCache } from '../../engine/kv-cache';
import type { HiddenState } from '../../models/decoder';
import type { Transformer } from '../../models/transformer';
import { type ForwardBatch, floatCache } from '../../nn/causal-lm';
import { add, type LayerCache } from '../../ops';
import type { Tensor } from '../../tensor';
import { HiddenStates } from './hidden-states';

/** Sees the input float[T, K] of the linear layers that read it. */
export type LinearInputHook = (names: readonly string[], x: Tensor) => void;

/**
 * Sees the queries float[T, heads * headDim] of a layer, rotated, and a cache that holds the keys and
 * values of all T tokens from its first page on.
 */
export type AttentionHook = (q: Tensor, cache: LayerCache) => void;

interface Hooks {
  onLinearInput: LinearInputHook;
  onAttention?: AttentionHook | undefined;
}

export interface CalibrationOptions {
  signal?: AbortSignal | undefined;
  /** Windows that went through `at`. */
  onWindow: (at: string, done: number, total: number) => void;
}

/** Tokens of a page of the cache. */
const PAGE = 64;
/** Ids that tell in which order the linear layers of a layer run. */
const PROBE_IDS = 8;

/** Ends the pass of a window early. */
class StopPass extends Error {}

/**
 * Passes calibration windows through a model layer by layer, op by op. Only the layer at work needs
 * its weights; hidden states of all windows are kept between layers.
 */
export class Calibration {
  readonly #windows: readonly (readonly number[])[];
  readonly #options: CalibrationOptions;
  readonly #states: HiddenStates;
  /** All layers use the same memory, one after the other. */
  readonly #cache: KvCache;

  constructor(
    { device, cacheShape, config, context }: Transformer,
    windows: readonly (readonly number[])[],
    options: CalibrationOptions,
  ) {
    this.#windows = windows;
    this.#options = options;
    const lengths = windows.map(({ length }) => length);
    const pages = Math.ceil(Math.max(...lengths) / PAGE);
    this.#states = new HiddenStates(device, context.activations, lengths, config.hiddenSize);
    this.#cache = new KvCache(device, { ...floatCache(cacheShape), layers: 1 }, pages, PAGE);
  }

  /** Brings every window to where the first layer begins. Needs the modules outside of layers. */
  embed(model: Transformer): Promise<void> {
    return this.#each(model, 'embeddings', (window) => {
      this.#states.set(window, model.embed(this.#batch(model, window)));
    });
  }

  /** Linear layers of a layer that share an input, in the order in which they run. */
  groups(model: Transformer, layer: number): string[][] {
    const found: string[][] = [];
    model.device.scope(() => {
      const batch = this.#batch(model, 0, { most: PROBE_IDS });
      const residual = this.#states.copy(0);
      const state = { residual: residual.rows(0, batch.ids.elements) };
      const onLinearInput = (names: readonly string[]) => void found.push([...names]);
      hooked(model, { onLinearInput }, () => model.forwardLayer(layer, state, batch));
      return undefined;
    });
    return found;
  }

  /**
   * Shows the inputs of some groups of a layer for every window. A window goes no further than the
   * last of them.
   */
  show(
    model: Transformer,
    layer: number,
    groups: readonly (readonly string[])[],
    hook: LinearInputHook,
    onAttention?: AttentionHook,
  ): Promise<void> {
    const wanted = new Set(groups.map(([first]) => first));
    const last = groups.at(-1)?.[0];
    const onLinearInput: LinearInputHook = (names, x) => {
      if (!wanted.has(names[0])) return;
      hook(names, x);
      if (names[0] === last) throw new StopPass();
    };
    return this.#each(model, `layer ${layer}`, (window) => {
      const state = { residual: this.#states.copy(window) };
      const batch = this.#batch(model, window);
      hooked(model, { onLinearInput, onAttention }, () => model.forwardLayer(layer, state, batch));
    });
  }

  /** Brings every window past a layer, whose weights, and grids of its cache, are those of `model`. */
  async advance(model: Transformer, layer: number): Promise<void> {
    const { bits, grids, ...shape } = model.cacheShape;
    const grid = grids?.[layer];
    const coded = { ...shape, layers: 1, ...(bits && grid ? { bits, grids: [grid] } : {}) };
    const cache = new KvCache(model.device, coded, this.#cache.pages, PAGE);
    try {
      await this.#each(model, `layer ${layer}`, (window) => {
        const state = { residual: this.#states.copy(window) };
        const batch = this.#batch(model, window, { cache });
        const { residual, delta } = model.forwardLayer(layer, state, batch);
        this.#states.set(window, delta ? add(delta, residual, residual) : residual);
      });
    } finally {
      cache.dispose();
    }
  }

  /** Shows what goes into the head. Needs the modules outside of layers. */
  finish(model: Transformer, hook: (x: Tensor) => void): Promise<void> {
    return this.#each(model, 'head', (window) => {
      const state: HiddenState = { residual: this.#states.copy(window) };
      hook(model.finish(state));
    });
  }

  [Symbol.dispose](): void {
    this.#cache.dispose();
    this.#states[Symbol.dispose]();
  }

  /** The event loop gets a turn between windows. */
  async #each(model: Transformer, at: string, body: (window: number) => void): Promise<void> {
    const { signal, onWindow } = this.#options;
    for (let window = 0; window < this.#windows.length; window++) {
      await yieldToEvents();
      signal?.throwIfAborted();
      model.device.scope(() => {
        body(window);
        return undefined;
      });
      onWindow(at, window + 1, this.#windows.length);
    }
  }

  /** The first `most` rows of a window, and where their keys and values go. */
  #batch(
    { device, layers }: Transformer,
    window: number,
    { most, cache = this.#cache }: { most?: number; cache?: KvCache } = {},
  ): ForwardBatch {
    const ids = (this.#windows[window] as readonly number[]).slice(0, most);
    const ints = (values: Iterable<number>, shape = [ids.length]) =>
      device.empty('i32', shape).write(Int32Array.from(values));
    const places = [...ids.keys()];
    const pages = Array.from({ length: cache.pages }, (_, page) => page);
    return {
      ids: ints(ids),
      positions: ints(places),
      slots: ints(places),
      sequences: ints(ids.map(() => 0)),
      blockTable: ints(pages, [1, pages.length]),
      cache: layers.map(() => cache.layers[0] as LayerCache),
      decode: false,
    };
  }
}

/** Runs `body` with hooks on what goes through a layer, which may end it by a `StopPass`. */
function hooked(
  { context }: Transformer,
  { onLinearInput, onAttention }: Hooks,
  body: () => void,
): void {
  const outer = [context.onLinearInput, context.onAttention] as const;
  context.onLinearInput = onLinearInput;
  context.onAttention = onAttention && ((_, q, cache) => onAttention(q, cache));
  try {
    body();
  } catch (error) {
    if (!(error instanceof StopPass)) throw error;
  } finally {
    [context.onLinearInput, context.onAttention] = outer;
  }
}
