import type { KvBits } from '../../ops';
import { type AffineGrid, codeRange } from './affine';
import { type ClusterGridOptions, clusterGrid } from './cluster-grid';
import { type ClusterOptions, clusterBounds, clusterHeads } from './clusters';
import type { Observed } from './observed';
import type { ChannelRanges } from './ranges';

/** Scales and zero points of keys or values by channel, as `src/ops/kv_codes.h` reads them. */
export interface KvGrid {
  /** f32[2, kvHeads * headDim]: scales, then zero points of unsigned codes. */
  readonly values: Float32Array;
  readonly channels: number;
}

export interface KvGridOptions extends ClusterOptions, ClusterGridOptions {
  /**
   * Clusters of each head, which share a scale. Default: every channel is one, because scales by
   * channel cost nothing for each token; the paper has 4.
   */
  clusters?: number;
}

/**
 * Static grids for the queries, keys or values of a layer (arXiv 2304.01089, R2 and R3): the channels
 * of each head are clustered by their ranges, and each cluster has one grid. The channels stay where
 * they are: attention takes scales by channel, so an order of its own would gain nothing.
 */
export function kvGrid(
  observed: Observed,
  heads: number,
  bits: KvBits,
  options: KvGridOptions = {},
): KvGrid {
  const clusters = kvClusters(observed.ranges, heads, options);
  return gridByCluster(clusters, bits, (members) => clusterGrid(observed, members, bits, options));
}

/** The channels of each cluster of each head. */
export function kvClusters(
  ranges: ChannelRanges,
  heads: number,
  { clusters, ...options }: KvGridOptions,
): Int32Array[] {
  const perHead = ranges.channels / heads;
  if (clusters === undefined || clusters >= perHead) {
    return Array.from({ length: ranges.channels }, (_, channel) => Int32Array.of(channel));
  }
  const { order, sizes } = clusterHeads([ranges.overall()], heads, clusters, options);
  const bounds = clusterBounds(sizes);
  return sizes.map((size, c) => order.subarray(bounds[c], (bounds[c] as number) + size));
}

/** Scales and zero points by channel from a grid for each cluster. */
export function gridByCluster(
  clusters: readonly Int32Array[],
  bits: KvBits,
  gridOf: (members: Int32Array) => AffineGrid,
): KvGrid {
  const channels = clusters.reduce((sum, { length }) => sum + length, 0);
  const values = new Float32Array(2 * channels);
  const { smallest } = codeRange(bits);
  for (const members of clusters) {
    const { scale, zero } = gridOf(members);
    for (const channel of members) {
      values[channel] = scale;
      // Codes in the cache start at 0.
      values[channels + channel] = zero - smallest;
    }
  }
  return { values, channels };
}
