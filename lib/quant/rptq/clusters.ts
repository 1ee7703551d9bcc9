import { kMeans, type Points } from './kmeans';
import type { Extremes } from './ranges';

/** Channels in a new order in which those of a cluster are neighbours. */
export interface ChannelClusters {
  /** order[j] = the channel that stands at position j. */
  readonly order: Int32Array;
  /** Channels in each cluster, in the new order. */
  readonly sizes: readonly number[];
}

export interface ClusterOptions {
  /**
   * `kmeans` (the paper): clusters of any size. `equal`: as many channels in each, which kernels
   * like; channels are sorted by what KMeans found, then cut.
   */
  sizes?: 'kmeans' | 'equal';
  /** Equal clusters have sizes that are multiples of this, as all channels must be; default 1. */
  multiple?: number;
  seed?: number;
}

/**
 * Clusters the channels of an activation by their ranges (arXiv 2304.01089, section 4.1): KMeans on
 * a point (max, min) per channel. Several activations that must share an order (q and k) give more
 * coordinates. Clusters come in the order of their widest channel, and channels of a cluster keep
 * theirs, so that the result depends on the ranges and the seed alone.
 */
export function clusterChannels(
  activations: readonly Extremes[],
  count: number,
  { sizes = 'kmeans', seed = 0, multiple = 1 }: ClusterOptions = {},
): ChannelClusters {
  const points = pointsOf(activations);
  const channels = points.values.length / points.dimensions;
  const { labels, clusters } = kMeans(points, Math.min(count, channels), { seed });
  const widths = Float64Array.from({ length: channels }, (_, k) => widthOf(activations, k));
  const widest = new Float64Array(clusters);
  for (const [k, label] of labels.entries()) {
    widest[label] = Math.max(widest[label] as number, widths[k] as number);
  }
  const order = Int32Array.from({ length: channels }, (_, k) => k);
  const labelOf = (k: number): number => labels[k] as number;
  const byCluster = (a: number, b: number): number =>
    (widest[labelOf(a)] as number) - (widest[labelOf(b)] as number) || labelOf(a) - labelOf(b);
  if (sizes === 'equal') {
    order.sort((a, b) => byCluster(a, b) || (widths[a] as number) - (widths[b] as number) || a - b);
    return { order, sizes: equalSizes(channels, count, multiple) };
  }
  order.sort((a, b) => byCluster(a, b) || a - b);
  const runs: number[] = [];
  for (const [j, k] of order.entries()) {
    const before = j > 0 ? labelOf(order[j - 1] as number) : -1;
    if (labelOf(k) === before) runs.push((runs.pop() as number) + 1);
    else runs.push(1);
  }
  return { order, sizes: runs };
}

/**
 * Clusters within each of `heads` runs of channels: no channel leaves its head. Every head has
 * clusters of its own.
 */
export function clusterHeads(
  activations: readonly Extremes[],
  heads: number,
  count: number,
  options: ClusterOptions = {},
): ChannelClusters {
  const channels = activations[0]?.min.length ?? 0;
  const width = channels / heads;
  const order = new Int32Array(channels);
  const sizes: number[] = [];
  for (let head = 0; head < heads; head++) {
    const first = head * width;
    const own = activations.map(({ min, max }) => ({
      min: min.subarray(first, first + width),
      max: max.subarray(first, first + width),
    }));
    const clusters = clusterChannels(own, count, options);
    order.set(
      clusters.order.map((k) => first + k),
      first,
    );
    sizes.push(...clusters.sizes);
  }
  return { order, sizes };
}

/** The positions at which clusters begin, and the end of the last. */
export function clusterBounds(sizes: readonly number[]): number[] {
  const bounds = [0];
  for (const size of sizes) bounds.push((bounds.at(-1) as number) + size);
  return bounds;
}

/** The position of every channel in an order: inverse[order[j]] = j. */
export function invertOrder(order: Int32Array): Int32Array {
  const inverse = new Int32Array(order.length);
  for (const [position, channel] of order.entries()) inverse[channel] = position;
  return inverse;
}

function pointsOf(activations: readonly Extremes[]): Points {
  const dimensions = 2 * activations.length;
  const channels = activations[0]?.min.length ?? 0;
  const values = new Float64Array(channels * dimensions);
  for (const [i, { min, max }] of activations.entries()) {
    for (let k = 0; k < channels; k++) {
      values[k * dimensions + 2 * i] = max[k] as number;
      values[k * dimensions + 2 * i + 1] = min[k] as number;
    }
  }
  return { values, dimensions };
}

function widthOf(activations: readonly Extremes[], k: number): number {
  return activations.reduce(
    (most, { min, max }) => Math.max(most, (max[k] as number) - (min[k] as number)),
    0,
  );
}

/** `count` sizes that differ by at most `unit`; those of more units than there are leave some out. */
function equalSizes(channels: number, count: number, unit: number): number[] {
  const units = channels / unit;
  const clusters = Math.min(count, units);
  const bound = (i: number): number => unit * Math.floor((i * units) / clusters);
  return Array.from({ length: clusters }, (_, i) => bound(i + 1) - bound(i));
}
