import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { KvCache } from '../../engine/kv-cache';
import type { HiddenState } from '../../models/decoder';
import type { Transformer } from '../../models/transformer';
import type { ForwardBatch } from '../../nn/causal-lm';
import { add } from '../../ops';
import type { Tensor } from '../../tensor';
import { HiddenStates } from './hidden-states';

/** Sees the input float[T, K] of the linear layers that read it. */
export type LinearInputHook = (names: readonly string[], x: Tensor) => void;

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
    // All layers use the same memory, one after the other.
    this.#cache = new KvCache(device, { ...cacheShape, layers: 1 }, pages, PAGE);
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
      const batch = this.#batch(model, 0, PROBE_IDS);
      const residual = this.#states.copy(0);
      const state = { residual: residual.rows(0, batch.ids.elements) };
      hooked(
        model,
        (names) => found.push([...names]),
        () => model.forwardLayer(layer, state, batch),
      );
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
  ): Promise<void> {
    const wanted = new Set(groups.map(([first]) => first));
    const last = groups.at(-1)?.[0];
    const filter: LinearInputHook = (names, x) => {
      if (!wanted.has(names[0])) return;
      hook(names, x);
      if (names[0] === last) throw new StopPass();
    };
    return this.#each(model, `layer ${layer}`, (window) => {
      const state = { residual: this.#states.copy(window) };
      const batch = this.#batch(model, window);
      hooked(model, filter, () => model.forwardLayer(layer, state, batch));
    });
  }

  /** Brings every window past a layer, whose weights are those of `model`. */
  advance(model: Transformer, layer: number): Promise<void> {
    return this.#each(model, `layer ${layer}`, (window) => {
      const state = { residual: this.#states.copy(window) };
      const { residual, delta } = model.forwardLayer(layer, state, this.#batch(model, window));
      this.#states.set(window, delta ? add(delta, residual, residual) : residual);
    });
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

  /** The first `most` rows of a window. */
  #batch({ device, layers }: Transformer, window: number, most?: number): ForwardBatch {
    const ids = (this.#windows[window] as readonly number[]).slice(0, most);
    const ints = (values: Iterable<number>, shape = [ids.length]) =>
      device.empty('i32', shape).write(Int32Array.from(values));
    const places = [...ids.keys()];
    const pages = Array.from({ length: this.#cache.pages }, (_, page) => page);
    return {
      ids: ints(ids),
      positions: ints(places),
      slots: ints(places),
      sequences: ints(ids.map(() => 0)),
      blockTable: ints(pages, [1, pages.length]),
      cache: layers.map(() => this.#cache.layers[0] as KvCache['layers'][number]),
      decode: false,
    };
  }
}

/** Runs `body` with a hook on the inputs of linear layers, which may end it by a `StopPass`. */
function hooked({ context }: Transformer, hook: LinearInputHook, body: () => void): void {
  const outer = context.onLinearInput;
  context.onLinearInput = hook;
  try {
    body();
  } catch (error) {
    if (!(error instanceof StopPass)) throw error;
  } finally {
    context.onLinearInput = outer;
  }
}
