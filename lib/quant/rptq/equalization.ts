import type { Extremes } from './ranges';

/** How far divisors may be from 1, as powers of two: gains of 16 bits must stay in their range. */
const LARGEST_EXPONENT = 12;

/**
 * What the channels of a norm's output can be divided by, where the columns of the weights that read it
 * are multiplied by the same: SmoothQuant's s = max|x|^0.5 / max|w|^0.5 (arXiv 2211.10438), rounded to
 * powers of two, so that the model's function stays exactly as it is. RPTQ does not have this. Columns of
 * a group share the scale of their codes, so one that meets an outlier channel, and is small for it,
 * would lose its values; with s taken out, channel and column are of one size again.
 * @param range of each channel
 * @param columns the largest size of a weight in each column
 */
export function equalizingDivisors({ min, max }: Extremes, columns: Float32Array): Float32Array {
  return columns.map((column, k) => {
    const size = Math.max(Math.abs(min[k] as number), Math.abs(max[k] as number));
    // Channels that are always 0, or that nothing reads, stay as they are.
    if (!(size > 0 && column > 0)) return 1;
    const exponent = Math.round(0.5 * Math.log2(size / column));
    return 2 ** Math.min(Math.max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT);
  });
}

/** Extremes of channels that are divided. */
export function dividedExtremes({ min, max }: Extremes, divisors: Float32Array): Extremes {
  const each = (values: Float64Array): Float64Array =>
    values.map((value, k) => value / (divisors[k] as number));
  return { min: each(min), max: each(max) };
}
