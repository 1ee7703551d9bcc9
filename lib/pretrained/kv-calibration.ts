import { setImmediate as yieldToEvents } from 'node:timers/promises';
import type { KvGrids } from '../engine/engine-options';
import { KvCache } from '../engine/kv-cache';
import { OptionsError } from '../errors';
import type { Transformer } from '../models/transformer';
import { floatCache } from '../nn/causal-lm';
import type { KvBits } from '../ops';
import { fedKeyGrid } from '../quant/rptq/key-grids';
import { type KvGridOptions, kvGrid } from '../quant/rptq/kv-grids';
import { Observed } from '../quant/rptq/observed';
import { cacheRows } from './cache-rows';
import { QueryMoments } from './query-moments';

export interface KvCalibrationOptions extends KvGridOptions {
  bits: KvBits;
  /**
   * Whether keys are rounded so that the errors of a head's channels make up for each other in the
   * scores (`key_round`); default: where keys have fewer than 8 bits.
   */
  feedback?: boolean;
  signal?: AbortSignal;
  /** Windows seen so far, and all. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Finds static grids for a model's cache (RPTQ, arXiv 2304.01089): runs windows of text through the
 * model, watches the range of every channel of keys (after their rotation) and values, and gives the
 * channels of each head that have similar ranges one grid. From the queries it learns which errors
 * of the keys matter.
 * @param windows token ids, one sample each
 * @throws OptionsError without windows, or `signal.reason`
 */
export async function calibrateKvCache(
  transformer: Transformer,
  windows: readonly (readonly number[])[],
  { bits, feedback = bits < 8, signal, onProgress, ...options }: KvCalibrationOptions,
): Promise<KvGrids> {
  if (windows.length === 0) throw new OptionsError('calibration needs windows of token ids');
  const { device } = transformer;
  const cacheShape = floatCache(transformer.cacheShape);
  const { layers, kvHeads, headDim } = cacheShape;
  const longest = Math.max(...windows.map(({ length }) => length));
  const cache = new KvCache(device, cacheShape, 1, longest);
  const channels = kvHeads * headDim;
  const seen = Array.from({ length: layers }, () => ({
    key: new Observed(channels),
    value: new Observed(channels),
  }));
  const moments = Array.from({ length: layers }, () => new QueryMoments(device, cacheShape));
  const outer = transformer.context.onAttention;
  try {
    for (const [i, window] of windows.entries()) {
      await yieldToEvents();
      signal?.throwIfAborted();
      let layer = 0;
      transformer.context.onAttention = (name, q, own) => {
        outer?.(name, q, own);
        moments[layer++]?.add(q);
      };
      run(transformer, cache, window);
      for (const [layer, { key, value }] of cache.layers.entries()) {
        seen[layer]?.key.add(cacheRows(key, window.length));
        seen[layer]?.value.add(cacheRows(value, window.length));
      }
      onProgress?.(i + 1, windows.length);
    }
    const gridOf = (observed: Observed) => kvGrid(observed, kvHeads, bits, options).values;
    const grids = seen.map(({ key, value }, i) => {
      if (!feedback) return { key: gridOf(key), value: gridOf(value) };
      const queries = (moments[i] as QueryMoments).values();
      return { ...fedKeyGrid(key, queries, bits, options), value: gridOf(value) };
    });
    return { bits, layers: grids, calibratedLength: longest };
  } finally {
    transformer.context.onAttention = outer;
    cache.dispose();
    for (const own of moments) own[Symbol.dispose]();
  }
}

/** Runs one window, which fills the first places of the cache's only page. */
function run(transformer: Transformer, cache: KvCache, window: readonly number[]): void {
  const { device } = transformer;
  device.scope(() => {
    const ints = (values: Iterable<number>, shape = [window.length]) =>
      device.empty('i32', shape).write(Int32Array.from(values));
    transformer.forward({
      ids: ints(window),
      positions: ints(window.keys()),
      slots: ints(window.keys()),
      sequences: ints(window.map(() => 0)),
      blockTable: ints([0], [1, 1]),
      cache: cache.layers,
      decode: false,
    });
    return undefined;
  });
}
