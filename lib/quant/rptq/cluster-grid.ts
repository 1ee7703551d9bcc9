import { type AffineGrid, affineGrid } from './affine';
import { clippedGrid } from './clipping';
import type { Observed } from './observed';
import type { ValueSample } from './value-sample';

/** Values of a cluster that decide where it is clipped. */
const CLIPPING_VALUES = 8192;

export interface ClusterGridOptions {
  /**
   * `ema_minmax`: the range is the moving average of the extremes, as in the paper's code. `mse`, the
   * default: the range about the middle of all extremes that has the least squared error.
   */
  metric?: 'ema_minmax' | 'mse';
}

/** The grid that some channels share. */
export function clusterGrid(
  { ranges, sample }: Observed,
  members: Int32Array,
  bits: number,
  { metric = 'mse' }: ClusterGridOptions = {},
): AffineGrid {
  if (metric === 'mse') {
    return clippedGrid(valuesOf(sample, members), ranges.ofCluster(members, 'all'), bits);
  }
  const range = ranges.ofCluster(members);
  return affineGrid(range.min, range.max, bits);
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
