import { type AffineGrid, affineGrid, codeRange } from './affine';

/** Shares of the full range that are tried; beyond 1, because the top code lies inside the range. */
const STEPS = 30;
const LARGEST_SHARE = 1.2;
const SMALLEST_SHARE = 0.4;

/**
 * The grid of n bits for values in [min, max] whose squared error on a sample is least, among ranges
 * wider or narrower about its middle: few codes serve the many values better when the rarest are
 * clipped.
 */
export function clippedGrid(
  sample: Float32Array,
  { min, max }: { min: number; max: number },
  bits: number,
): AffineGrid {
  let best = affineGrid(min, max, bits);
  let least = squaredError(sample, best, bits);
  const middle = (min + max) / 2;
  for (let step = 1; step <= STEPS; step++) {
    const share = LARGEST_SHARE - ((LARGEST_SHARE - SMALLEST_SHARE) * step) / STEPS;
    const half = ((max - min) / 2) * share;
    const grid = affineGrid(middle - half, middle + half, bits);
    const error = squaredError(sample, grid, bits);
    if (error < least) [best, least] = [grid, error];
  }
  return best;
}

function squaredError(sample: Float32Array, { scale, zero }: AffineGrid, bits: number): number {
  const { round, min, max } = Math;
  const { smallest, largest } = codeRange(bits);
  let sum = 0;
  for (let i = 0; i < sample.length; i++) {
    const x = sample[i] as number;
    // How ties are rounded makes no difference to the error.
    const code = min(max(round(x / scale) + zero, smallest), largest);
    const difference = (code - zero) * scale - x;
    sum += difference * difference;
  }
  return sum;
}
