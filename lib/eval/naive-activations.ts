import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { OptionsError } from '../errors';
import type { Transformer } from '../models/transformer';
import { type CacheGrids, type CacheShape, floatCache } from '../nn/causal-lm';
import { cacheRows } from '../pretrained/cache-rows';
import type { CausalLanguageModel } from '../pretrained/model';
import type { RptqWidths } from '../quant';
import { codeRange } from '../quant/rptq/affine';
import { layerPoints } from '../quant/rptq/layer-points';
import { floatRows } from '../quant/rptq/observed';
import { EagerScorer } from './eager-scorer';
import { MeanNll } from './mean-nll';
import { roundNaively, Span } from './naive-rounding';
import { DEFAULT_WINDOW, splitWindows, type WindowOptions } from './windows';

export interface NaiveOptions extends WindowOptions {
  /**
   * `tensor`: one static grid for each activation, from its smallest and largest value in the
   * calibration windows. `token`: every token has a grid of its own, found as it is computed (in the
   * cache and of queries, every token and head).
   */
  by: 'tensor' | 'token';
  /** Bits of inputs of linear layers, of queries and the cache, as RPTQ's configurations have them. */
  widths: Pick<RptqWidths, 'norm' | 'query' | 'cache' | 'inner'>;
  /** To calibrate `tensor` with. */
  calibration?: readonly (readonly number[])[];
  signal?: AbortSignal | undefined;
}

/**
 * Perplexity of a model whose activations are rounded as one would without knowing of outlier
 * channels: what RPTQ (arXiv 2304.01089) is compared with. Weights stay as they are. The
 * model runs op by op on the caller's thread.
 * @throws OptionsError for a model whose layers are not known, or without calibration windows
 */
export async function naivePerplexity(
  { transformer }: Pick<CausalLanguageModel, 'transformer'>,
  ids: ArrayLike<number>,
  { by, widths, calibration = [], window = DEFAULT_WINDOW, limit, signal }: NaiveOptions,
): Promise<number> {
  if (by === 'tensor' && calibration.length === 0) {
    throw new OptionsError('grids by tensor need windows of token ids to calibrate with');
  }
  const spans = by === 'tensor' ? await observe(transformer, calibration, signal) : undefined;
  const bitsOf = inputBits(transformer, widths);
  const shape = naiveCache(transformer, widths.cache, spans);
  using scorer = new EagerScorer(transformer, window, shape);
  const mean = new MeanNll();
  const { context } = transformer;
  context.onLinearInput = ([name], x) => {
    const bits = bitsOf(name as string);
    if (bits < 16) roundNaively(x, { bits, grid: spans?.get(name as string)?.grid(bits) });
  };
  const { query: bits } = widths;
  context.onAttention = (name, q) => {
    const grid = spans?.get(`${name}.query`)?.grid(bits);
    if (bits < 16) roundNaively(q, { bits, grid, width: shape.headDim });
  };
  try {
    for (const own of splitWindows(ids, { window, limit })) {
      await yieldToEvents();
      signal?.throwIfAborted();
      mean.add(scorer.nll(own));
    }
  } finally {
    context.onLinearInput = undefined;
    context.onAttention = undefined;
  }
  return mean.perplexity;
}

/** The spans of inputs by the first layer that reads them, and of queries, keys and values. */
async function observe(
  transformer: Transformer,
  windows: readonly (readonly number[])[],
  signal: AbortSignal | undefined,
): Promise<Map<string, Span>> {
  const spans = new Map<string, Span>();
  const add = (name: string, values: Float32Array): void => {
    const span = spans.get(name) ?? new Span();
    span.add(values);
    spans.set(name, span);
  };
  const { context } = transformer;
  const longest = Math.max(...windows.map(({ length }) => length));
  using scorer = new EagerScorer(transformer, longest, floatCache(transformer.cacheShape));
  context.onLinearInput = ([name], x) => add(name as string, x.readFloats());
  context.onAttention = (name, q, cache) => {
    const tokens = q.shape[0] as number;
    add(`${name}.query`, floatRows(q));
    add(`${name}.key`, cacheRows(cache.key, tokens));
    add(`${name}.value`, cacheRows(cache.value, tokens));
  };
  try {
    for (const window of windows) {
      await yieldToEvents();
      signal?.throwIfAborted();
      scorer.nll(window);
    }
  } finally {
    context.onLinearInput = undefined;
    context.onAttention = undefined;
  }
  return spans;
}

function inputBits(
  { config, layers }: Transformer,
  { norm, inner }: NaiveOptions['widths'],
): (name: string) => number {
  const points = layers.map((_, layer) => layerPoints(config, layer));
  const behindLinear = new Set(points.flatMap(({ output, down }) => [output, down]));
  return (name) => (behindLinear.has(name) ? inner : norm);
}

function naiveCache(
  { cacheShape, config }: Transformer,
  bits: RptqWidths['cache'],
  spans: ReadonlyMap<string, Span> | undefined,
): CacheShape {
  const shape = floatCache(cacheShape);
  if (bits === 16) return shape;
  if (!spans) return { ...shape, bits };
  const channels = shape.kvHeads * shape.headDim;
  const grids = Array.from({ length: shape.layers }, (_, layer): CacheGrids => {
    const { attention } = layerPoints(config, layer);
    const of = (kind: string): Float32Array => {
      const { scale, zero } = (spans.get(`${attention}.${kind}`) as Span).grid(bits);
      const values = new Float32Array(2 * channels).fill(scale, 0, channels);
      return values.fill(zero - codeRange(bits).smallest, channels);
    };
    return { key: of('key'), value: of('value') };
  });
  return { ...shape, bits, grids };
}
