import type { CacheGrids } from '../../nn/causal-lm';
import { type ClusterPlan, clusterPlan } from './cluster-plan';
import type { RptqConfig } from './config';
import { equalizingDivisors } from './equalization';
import { designDivided, designInput, type InputDesign } from './input-design';
import { fedKeyGrid } from './key-grids';
import { kvGrid } from './kv-grids';
import type { HeadShape, LayerPoints } from './layer-points';
import type { Observed } from './observed';
import { designRotated, designRotatedHeads, type RotatedInput } from './rotated-input';

/** What calibration saw of a decoder layer. */
export interface LayerObservations {
  /** Inputs: of q, k and v (R1), of the output projection (R3), of fc1 or gate and up (R4), of the last. */
  readonly attention: Observed;
  readonly output: Observed;
  readonly inner: Observed;
  readonly down: Observed;
  /** Those of the output projection and the last rotated, where they may be. */
  readonly rotated?: { readonly output: RotatedInput; readonly down: RotatedInput } | undefined;
  /** As attention reads them: after their rotation. */
  readonly query: Observed;
  readonly key: Observed;
  readonly value: Observed;
  /** E[q q^T] over the queries of each head of keys, f32[headDim, headDim]; any scale. */
  readonly moments: readonly Float32Array[];
  /**
   * The largest size of a weight in each column that reads a norm, by the norm's name: where its channels
   * are to be equalized.
   */
  readonly columns?: ReadonlyMap<string, Float32Array>;
}

/** A linear layer in the orders of RPTQ. */
export interface LinearDesign {
  readonly input: InputDesign;
  /** Inputs that share a scale in the weight. */
  readonly groupSize: number;
  /** Whether the norm before it puts the input in its order; else the producer's rows are. */
  readonly follows: 'norm' | 'linear';
  /** outputOrder[j] = the original output that is row j now. */
  readonly outputOrder?: Int32Array;
}

/** Orders and grids of a decoder layer. */
export interface LayerDesign {
  /** By the layer's name. */
  readonly linears: ReadonlyMap<string, LinearDesign>;
  readonly cache?: CacheGrids;
  /** What the channels of norms are divided by, in their original order; by the norm's name. */
  readonly norms: ReadonlyMap<string, Float32Array>;
}

/** Group sizes by linear layer: known before anything is seen. */
export function groupSizes(
  points: LayerPoints,
  shape: { hidden: number; inner: number } & HeadShape,
  config: RptqConfig,
): Map<string, number> {
  const plans = clusterPlans(shape, config);
  const attention = [points.query, points.key, points.value];
  return new Map([
    ...attention.map((name) => [name, plans.norm.groupSize] as const),
    [points.output, plans.output.groupSize],
    ...points.inner.map((name) => [name, plans.norm.groupSize] as const),
    [points.down, plans.down.groupSize],
  ]);
}

/** Clusters, orders and grids of a layer (arXiv 2304.01089, section 4). */
export function designLayer(
  points: LayerPoints,
  seen: LayerObservations,
  shape: HeadShape,
  config: RptqConfig,
): LayerDesign {
  const { metric, widths } = config;
  const hidden = seen.attention.channels;
  const plans = clusterPlans({ ...shape, hidden, inner: seen.down.channels }, config);
  const norm = { plan: plans.norm, bits: widths.norm, metric };
  const norms = new Map<string, Float32Array>();
  const normDesign = (observed: Observed, name: string): InputDesign => {
    const columns = seen.columns?.get(name);
    if (!columns) return designInput(observed, norm);
    const divisors = equalizingDivisors(observed.ranges.overall(), columns);
    norms.set(name, divisors);
    return designDivided(observed, divisors, plans.norm);
  };
  const attention = normDesign(seen.attention, points.norms.attention);
  const inner = normDesign(seen.inner, points.norms.inner);
  const output = designRotatedHeads(seen.output, shape.kvHeads, seen.rotated?.output, {
    plan: plans.output,
    bits: widths.inner,
    metric,
  });
  const down = designRotated(seen.down, seen.rotated?.down, {
    plan: plans.down,
    bits: widths.inner,
    metric,
  });
  const normed = (input: InputDesign): LinearDesign => ({
    input,
    groupSize: plans.norm.groupSize,
    follows: 'norm',
  });
  const linears = new Map<string, LinearDesign>([
    [points.query, normed(attention)],
    [points.key, normed(attention)],
    [points.value, { ...normed(attention), outputOrder: output.valueOrder }],
    [points.output, { input: output, groupSize: plans.output.groupSize, follows: 'linear' }],
    ...points.inner.map(
      (name) => [name, { ...normed(inner), outputOrder: down.order }] as [string, LinearDesign],
    ),
    [points.down, { input: down, groupSize: plans.down.groupSize, follows: 'linear' }],
  ]);
  if (widths.cache === 16) return { linears, norms };
  // Rows of v keep their order where its weight stays as it is.
  const valueOrder = widths.weights === 16 ? undefined : output.valueOrder;
  return { linears, norms, cache: cacheGrids(seen, shape, config, valueOrder) };
}

/** How the channels of each input are clustered: known from shapes alone. */
export function clusterPlans(
  { hidden, inner, heads, headDim }: { hidden: number; inner: number } & HeadShape,
  config: RptqConfig,
): Record<'norm' | 'output' | 'down', ClusterPlan> {
  return {
    norm: clusterPlan(hidden, hidden, config),
    output: clusterPlan(heads * headDim, headDim, config),
    down: clusterPlan(inner, inner, config),
  };
}

/** Grids by channel cost nothing, so their clusters need not be those of any order. */
function cacheGrids(
  { query, key, value, moments }: LayerObservations,
  { heads, kvHeads }: HeadShape,
  { metric, widths, cacheClusters, clusterSeed, keyFeedback }: RptqConfig,
  valueOrder: Int32Array | undefined,
): CacheGrids {
  const clusters = cacheClusters === undefined ? {} : { clusters: cacheClusters };
  const options = { metric, seed: clusterSeed, ...clusters };
  const bits = widths.cache as Exclude<typeof widths.cache, 16>;
  const keys =
    bits < 8 && keyFeedback
      ? fedKeyGrid(key, moments, bits, options)
      : { key: kvGrid(key, kvHeads, bits, options).values };
  const values = kvGrid(value, kvHeads, bits, options).values;
  const grids = { ...keys, value: valueOrder ? reordered(values, valueOrder) : values };
  if (widths.query === 16) return grids;
  return { ...grids, query: kvGrid(query, heads, widths.query, options).values };
}

/** A grid whose channels are put in an order. */
function reordered(values: Float32Array, order: Int32Array): Float32Array {
  const channels = order.length;
  const out = new Float32Array(2 * channels);
  for (const [place, channel] of order.entries()) {
    out[place] = values[channel] as number;
    out[channels + place] = values[channels + channel] as number;
  }
  return out;
}
