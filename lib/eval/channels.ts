import { OptionsError } from '../errors';
import type { LayerCache } from '../ops';
import { cacheRows } from '../pretrained/cache-rows';
import type { CausalLanguageModel } from '../pretrained/model';
import {
  type ChannelClusters,
  clusterBounds,
  clusterChannels,
  clusterHeads,
} from '../quant/rptq/clusters';
import { Observed } from '../quant/rptq/observed';
import type { Tensor } from '../tensor';
import { EagerScorer } from './eager-scorer';
import { splitWindows, type WindowOptions } from './windows';

export interface ChannelOptions extends WindowOptions {
  /** Clusters of an activation, and of each head of queries, keys and values; default 32 and 4. */
  clusters?: number;
  headClusters?: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** Where channels are watched, as arXiv 2304.01089 numbers it, in the order of the layer. */
export const CHANNEL_POINTS = {
  attention: 'attention norm (R1)',
  query: 'queries (R2)',
  key: 'keys (R2)',
  value: 'values (R3)',
  inner: 'feed-forward norm (R4)',
  down: 'feed-forward inner (R5)',
} as const;
export type ChannelPoint = keyof typeof CHANNEL_POINTS;

export interface ChannelCluster {
  readonly min: number;
  readonly max: number;
  readonly channels: number;
}

/** The channels of one activation of one layer. */
export interface PointChannels {
  readonly layer: number;
  readonly point: ChannelPoint;
  /** By channel. */
  readonly min: readonly number[];
  readonly max: readonly number[];
  readonly cluster: readonly number[];
  readonly clusters: readonly ChannelCluster[];
}

/** Which point the input of a group of linear layers is. */
const INPUTS: readonly [RegExp, ChannelPoint][] = [
  [/\.q_proj$/, 'attention'],
  [/\.(fc1|gate_proj)$/, 'inner'],
  [/\.(fc2|down_proj)$/, 'down'],
];

/**
 * The smallest and largest value of every channel of a model's activations on a text, and the clusters
 * that RPTQ (arXiv 2304.01089) makes of them. Queries and keys are seen after their rotation.
 * @throws OptionsError for wrong options or ids, or `signal.reason`
 */
export async function analyzeChannels(
  { transformer }: Pick<CausalLanguageModel, 'transformer'>,
  ids: ArrayLike<number>,
  { clusters = 32, headClusters = 4, signal, onProgress, ...options }: ChannelOptions = {},
): Promise<PointChannels[]> {
  const windows = splitWindows(ids, options);
  if (windows.length === 0) throw new OptionsError('the text is too short for a window');
  const longest = windows.reduce((most, { length }) => Math.max(most, length), 0);
  const seen = new Map<string, Observed>();
  using scorer = new EagerScorer(transformer, longest);
  const { context } = transformer;
  const outer = { input: context.onLinearInput, attention: context.onAttention };
  const watch = new Watch(seen);
  context.onLinearInput = (names, x) => {
    outer.input?.(names, x);
    watch.input(names[0] as string, x);
  };
  context.onAttention = (name, q, cache) => {
    outer.attention?.(name, q, cache);
    watch.attention(name, q, cache);
  };
  try {
    for (const [done, window] of windows.entries()) {
      await new Promise(setImmediate);
      signal?.throwIfAborted();
      onProgress?.({ done, total: windows.length });
      scorer.nll(window);
    }
  } finally {
    context.onLinearInput = outer.input;
    context.onAttention = outer.attention;
  }
  const { headDim } = transformer.cacheShape;
  const points = Object.keys(CHANNEL_POINTS) as ChannelPoint[];
  return transformer.layers.flatMap((_, layer) =>
    points.flatMap((point) => {
      const observed = seen.get(`${layer} ${point}`);
      if (!observed) return [];
      const { ranges, channels } = observed;
      const isHeads = point === 'query' || point === 'key' || point === 'value';
      const found = isHeads
        ? clusterHeads([ranges.overall()], channels / headDim, headClusters)
        : clusterChannels([ranges.overall()], clusters);
      return [{ layer, point, ...describeChannels(observed, found) }];
    }),
  );
}

class Watch {
  readonly #seen: Map<string, Observed>;

  constructor(seen: Map<string, Observed>) {
    this.#seen = seen;
  }

  input(name: string, x: Tensor): void {
    const point = INPUTS.find(([pattern]) => pattern.test(name))?.[1];
    if (point) this.#at(name, point, x.shape[1] as number)?.addTensor(x);
  }

  attention(name: string, q: Tensor, cache: LayerCache): void {
    this.#at(`${name}.`, 'query', q.shape[1] as number)?.addTensor(q);
    for (const [point, tensor] of [
      ['key', cache.key],
      ['value', cache.value],
    ] as const) {
      const rows = cacheRows(tensor, q.shape[0] as number);
      this.#at(`${name}.`, point, rows.length / (q.shape[0] as number))?.add(rows);
    }
  }

  #at(name: string, point: ChannelPoint, channels: number): Observed | undefined {
    const layer = /\.layers\.(\d+)\./.exec(name)?.[1];
    if (layer === undefined) return undefined;
    const key = `${layer} ${point}`;
    const observed = this.#seen.get(key) ?? new Observed(channels);
    this.#seen.set(key, observed);
    return observed;
  }
}

function describeChannels(
  { ranges, channels }: Observed,
  { order, sizes }: ChannelClusters,
): Omit<PointChannels, 'layer' | 'point'> {
  const { min, max } = ranges.overall();
  const bounds = clusterBounds(sizes);
  const cluster = new Array<number>(channels).fill(0);
  const clusters = sizes.map((size, c) => {
    const members = order.subarray(bounds[c], (bounds[c] as number) + size);
    for (const channel of members) cluster[channel] = c;
    return { ...ranges.ofCluster(members, 'all'), channels: size };
  });
  return { min: [...min], max: [...max], cluster, clusters };
}
