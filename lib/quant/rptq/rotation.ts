import { AFFINE_ROTATIONS } from '../../ops';
import type { RptqConfig } from './config';

/** Inputs of more bits lose too little for it. */
const MOST_BITS = 4;

/** Whether inputs of the output projection and of fc2 or down are rotated where that is better. */
export function mayRotate({ rotate, widths }: RptqConfig): boolean {
  return rotate && widths.inner <= MOST_BITS;
}

/** Width of the blocks in which so many channels, a multiple of 32, are rotated. */
export function rotationWidth(channels: number): number {
  return AFFINE_ROTATIONS.find((width) => channels % width === 0) as number;
}

/**
 * Multiplies each block of `width` neighbours by Hadamard's matrix / sqrt(width), in place: a rotation
 * that is its own reverse. It spreads what few channels of a token have over all of a block, so that a
 * grid need not be wide for their sake (QuaRot, arXiv 2404.00456).
 * @param values of which there are a multiple of width, a power of two
 */
export function rotateBlocks(values: Float32Array, width: number): Float32Array {
  for (let half = 1; half < width; half *= 2) {
    for (let first = 0; first < values.length; first += 2 * half) {
      for (let i = first; i < first + half; i++) {
        const a = values[i] as number;
        const b = values[i + half] as number;
        values[i] = a + b;
        values[i + half] = a - b;
      }
    }
  }
  const factor = 1 / Math.sqrt(width);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * factor;
  return values;
}
