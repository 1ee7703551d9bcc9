import type { KvBits } from '../../ops';
import { codeRange } from './affine';
import { type ClusterGridOptions, clusterGrid } from './cluster-grid';
import { type ClusterOptions, clusterBounds, clusterHeads } from './clusters';
import type { Observed } from './observed';

/** Scales and zero points of keys or values by channel, as `src/ops/kv_codes.h` reads them. */
export interface KvGrid {
  /** f32[2, kvHeads * headDim]: scales, then zero points of unsigned codes. */
  readonly values: Float32Array;
  readonly channels: number;
}

export interface KvGridOptions extends ClusterOptions, ClusterGridOptions {
  /** Clusters of each head, which share a scale; default 4, as in the paper. */
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
  { clusters = 4, ...options }: KvGridOptions = {},
): KvGrid {
  const { channels, ranges } = observed;
  const { order, sizes } = clusterHeads([ranges.overall()], heads, clusters, options);
  const bounds = clusterBounds(sizes);
  const values = new Float32Array(2 * channels);
  const { smallest } = codeRange(bits);
  for (const [c, begin] of bounds.slice(0, -1).entries()) {
    const members = order.subarray(begin, bounds[c + 1]);
    const { scale, zero } = clusterGrid(observed, members, bits, options);
    for (const channel of members) {
      values[channel] = scale;
      // Codes in the cache start at 0.
      values[channels + channel] = zero - smallest;
    }
  }
  return { values, channels };
}
