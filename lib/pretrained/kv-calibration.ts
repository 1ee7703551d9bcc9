import { setImmediate as yieldToEvents } from 'node:timers/promises';
import type { KvGrids } from '../engine/engine-options';
import { KvCache } from '../engine/kv-cache';
import { OptionsError } from '../errors';
import type { Transformer } from '../models/transformer';
import { cast, type KvBits } from '../ops';
import { type KvGridOptions, kvGrid } from '../quant/rptq/kv-grids';
import { ChannelRanges } from '../quant/rptq/ranges';
import { ValueSample } from '../quant/rptq/value-sample';
import type { Tensor } from '../tensor';

export interface KvCalibrationOptions extends KvGridOptions {
  bits: KvBits;
  signal?: AbortSignal;
  /** Windows seen so far, and all. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Finds static grids for a model's cache (RPTQ, arXiv 2304.01089): runs windows of text through the
 * model, watches the range of every channel of keys (after their rotation) and values, and gives the
 * channels of each head that have similar ranges one grid.
 * @param windows token ids, one sample each
 * @throws OptionsError without windows, or `signal.reason`
 */
export async function calibrateKvCache(
  transformer: Transformer,
  windows: readonly (readonly number[])[],
  { bits, signal, onProgress, ...options }: KvCalibrationOptions,
): Promise<KvGrids> {
  if (windows.length === 0) throw new OptionsError('calibration needs windows of token ids');
  const { device, cacheShape } = transformer;
  const { layers, kvHeads, headDim } = cacheShape;
  const longest = Math.max(...windows.map(({ length }) => length));
  const cache = new KvCache(device, cacheShape, 1, longest);
  const channels = kvHeads * headDim;
  const seen = Array.from({ length: layers }, () => ({
    key: new Observed(channels),
    value: new Observed(channels),
  }));
  try {
    for (const [i, window] of windows.entries()) {
      await yieldToEvents();
      signal?.throwIfAborted();
      run(transformer, cache, window);
      for (const [layer, { key, value }] of cache.layers.entries()) {
        seen[layer]?.key.add(tokenRows(key, window.length));
        seen[layer]?.value.add(tokenRows(value, window.length));
      }
      onProgress?.(i + 1, windows.length);
    }
  } finally {
    cache.dispose();
  }
  const gridOf = ({ ranges, sample }: Observed) =>
    kvGrid(ranges, sample, kvHeads, bits, options).values;
  return {
    bits,
    layers: seen.map(({ key, value }) => ({ key: gridOf(key), value: gridOf(value) })),
  };
}

/** What is kept of the keys or values of a layer. */
class Observed {
  readonly ranges: ChannelRanges;
  readonly sample: ValueSample;

  constructor(channels: number) {
    this.ranges = new ChannelRanges(channels);
    this.sample = new ValueSample(channels);
  }

  add(rows: Float32Array): void {
    this.ranges.add(rows);
    this.sample.add(rows);
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

/** The first tokens of a cache float[1, heads, size, dim] as rows f32[tokens, heads * dim]. */
function tokenRows(cache: Tensor, tokens: number): Float32Array {
  const [, heads, size, dim] = cache.shape as [number, number, number, number];
  const values = cache.device.scope(() => {
    const wide = cache.dtype === 'f32' ? cache : cast(cache, 'f32');
    return wide.read() as Float32Array;
  });
  const rows = new Float32Array(tokens * heads * dim);
  for (let token = 0; token < tokens; token++) {
    for (let head = 0; head < heads; head++) {
      const from = (head * size + token) * dim;
      rows.set(values.subarray(from, from + dim), (token * heads + head) * dim);
    }
  }
  return rows;
}
