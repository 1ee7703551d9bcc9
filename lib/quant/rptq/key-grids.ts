import { Device } from '../../device';
import type { CacheGrids } from '../../nn/causal-lm';
import { cast, type KvBits, keyRound } from '../../ops';
import { affineGrid } from './affine';
import { keyFeedback, scoreError } from './key-feedback';
import { gridByCluster, type KvGridOptions, kvClusters } from './kv-grids';
import type { Observed } from './observed';

/** Keys that decide how wide the grids are. */
const ROWS = 256;
/** Shares of the full range that are tried. Beyond 1, because the top code lies inside the range. */
const SHARES = [0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15];

/**
 * Static grids for keys that `key_round` rounds, and its feedback. The width of the grids is chosen
 * for each head by the error of the scores that is left, on a sample of keys.
 * @param moments E[q q^T] over the queries of each head of keys, [headDim, headDim]; any scale
 */
export function fedKeyGrid(
  { ranges, sample }: Observed,
  moments: readonly Float32Array[],
  bits: KvBits,
  options: KvGridOptions = {},
): Pick<CacheGrids, 'key' | 'keyFeedback'> {
  const heads = moments.length;
  const { channels } = ranges;
  const dim = channels / heads;
  const feedback = new Float32Array(heads * dim * dim);
  for (const [head, own] of moments.entries()) {
    feedback.set(keyFeedback(own, dim), head * dim * dim);
  }
  const clusters = kvClusters(ranges, heads, options);
  const gridOf = (share: number): Float32Array =>
    gridByCluster(clusters, bits, (members) => {
      const { min, max } = ranges.ofCluster(members, 'all');
      const [middle, half] = [(min + max) / 2, ((max - min) / 2) * share];
      return affineGrid(middle - half, middle + half, bits);
    }).values;

  const step = Math.ceil(sample.rows.length / ROWS);
  const keys = sample.rows.filter((_, i) => i % step === 0);
  using device = Device.open('cpu', { threads: 1 });
  const best = { grid: new Float32Array(2 * channels), errors: new Float64Array(heads) };
  best.errors.fill(Infinity);
  for (const share of SHARES) {
    const grid = gridOf(share);
    const errors = roundingErrors(device, keys, grid, feedback, bits);
    for (const [head, own] of moments.entries()) {
      const [begin, end] = [head * dim, (head + 1) * dim];
      const error = scoreError(
        errors.map((row) => row.subarray(begin, end)),
        own,
      );
      if (!(error < (best.errors[head] as number))) continue;
      best.errors[head] = error;
      best.grid.set(grid.subarray(begin, end), begin);
      best.grid.set(grid.subarray(channels + begin, channels + end), channels + begin);
    }
  }
  return { key: best.grid, keyFeedback: feedback };
}

/** What `key_round` makes of keys on a grid, less the keys. */
function roundingErrors(
  device: Device,
  keys: readonly Float32Array[],
  grid: Float32Array,
  feedback: Float32Array,
  bits: KvBits,
): Float32Array[] {
  const channels = grid.length / 2;
  const dim = feedback.length / channels;
  const heads = channels / dim;
  const all = new Float32Array(keys.length * channels);
  for (const [i, row] of keys.entries()) all.set(row, i * channels);
  const rounded = device.scope(() => {
    const k = device.empty('f32', [keys.length, channels]).write(all);
    // Nothing turns without a rope table, so any matrix does for the queries.
    keyRound(k, k, {
      positions: device.empty('i32', [keys.length]).write(new Int32Array(keys.length)),
      grid: device.empty('f32', [2, channels]).write(grid),
      feedback: cast(device.empty('f32', [heads, dim, dim]).write(feedback), 'f16'),
      bits,
    });
    return k.read() as Float32Array;
  });
  return keys.map((row, i) => row.map((value, c) => (rounded[i * channels + c] as number) - value));
}
