import type { KvBits } from '../../ops';
import { affineGrid, codeRange } from './affine';
import { clippedGrid } from './clipping';
import { type ClusterOptions, clusterBounds, clusterHeads } from './clusters';
import type { ChannelRanges } from './ranges';
import type { ValueSample } from './value-sample';

/** Values of a cluster that decide where it is clipped. */
const CLIPPING_VALUES = 8192;

/** Scales and zero points of keys or values by channel, as `src/ops/kv_codes.h` reads them. */
export interface KvGrid {
  /** f32[2, kvHeads * headDim]: scales, then zero points of unsigned codes. */
  readonly values: Float32Array;
  readonly channels: number;
}

export interface KvGridOptions extends ClusterOptions {
  /** Clusters of each head, which share a scale; default 4, as in the paper. */
  clusters?: number;
  /**
   * `ema_minmax`: the range is the moving average of the extremes, as in the paper's code. `mse`, the
   * default: the range within it that has the least squared error.
   */
  metric?: 'ema_minmax' | 'mse';
}

/**
 * Static grids for the keys or values of a layer (arXiv 2304.01089, R2 and R3): the channels of each
 * head are clustered by their ranges, and each cluster has one grid. The channels stay where they
 * are: attention takes scales by channel, so an order of its own would gain nothing.
 */
export function kvGrid(
  ranges: ChannelRanges,
  sample: ValueSample,
  heads: number,
  bits: KvBits,
  { clusters = 4, metric = 'mse', ...options }: KvGridOptions = {},
): KvGrid {
  const { channels } = ranges;
  const { order, sizes } = clusterHeads([ranges.overall()], heads, clusters, options);
  const bounds = clusterBounds(sizes);
  const values = new Float32Array(2 * channels);
  const { smallest } = codeRange(bits);
  for (const [c, begin] of bounds.slice(0, -1).entries()) {
    const members = order.subarray(begin, bounds[c + 1]);
    const range = ranges.ofCluster(members);
    const { scale, zero } =
      metric === 'mse'
        ? clippedGrid(valuesOf(sample, members), range, bits)
        : affineGrid(range.min, range.max, bits);
    for (const channel of members) {
      values[channel] = scale;
      // Codes in the cache start at 0.
      values[channels + channel] = zero - smallest;
    }
  }
  return { values, channels };
}

/** Values of some channels, from rows spread over the sample so that they stay few. */
function valuesOf({ rows }: ValueSample, channels: Int32Array): Float32Array {
  const step = Math.max(1, Math.floor((rows.length * channels.length) / CLIPPING_VALUES));
  const values: number[] = [];
  for (let i = 0; i < rows.length; i += step) {
    for (const channel of channels) values.push(rows[i]?.[channel] as number);
  }
  return Float32Array.from(values);
}
