/** Scale and zero point of an asymmetric grid of n bits: x is near (q - zero) * scale. */
export interface AffineGrid {
  readonly scale: number;
  readonly zero: number;
}

const SMALLEST_SCALE = 1e-4;
const LARGEST_SCALE = 1e4;
const LARGEST_ZERO = 1e4;

/** Codes of n bits: signed, as in RPTQ's reference implementation. */
export function codeRange(bits: number): { smallest: number; largest: number } {
  const half = 2 ** (bits - 1);
  return { smallest: -half, largest: half - 1 };
}

/**
 * The grid for values in [min, max], as RPTQ's reference implementation makes it (arXiv 2304.01089;
 * its divisor is 2^bits): scale = (max - min) / 2^bits, zero = round(-(max + min) / (2 scale)),
 * which need not be a code itself. One thing differs: where the values lie so far from 0 for their
 * width that the zero point would leave +-10^4, the scale is made large enough to reach them. The
 * reference clips the zero point instead and loses such values (a channel that is constant).
 */
export function affineGrid(min: number, max: number, bits: number): AffineGrid {
  const reach = Math.abs(max + min) / (2 * LARGEST_ZERO);
  const wanted = Math.max((max - min) * 2 ** -bits, SMALLEST_SCALE, reach);
  const scale = Math.min(wanted, LARGEST_SCALE);
  const center = -(max + min) / (2 * scale);
  const zero = roundHalfEven(Math.min(Math.max(center, -LARGEST_ZERO), LARGEST_ZERO));
  return { scale, zero };
}

/** The code of x, clamped to those of n bits. */
export function quantize(x: number, { scale, zero }: AffineGrid, bits: number): number {
  const { smallest, largest } = codeRange(bits);
  const code = roundHalfEven(x / scale) + zero;
  return Math.min(Math.max(code, smallest), largest);
}

export function dequantize(code: number, { scale, zero }: AffineGrid): number {
  return (code - zero) * scale;
}

/** Rounds to the nearest integer, ties to the even one, like rintf. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
