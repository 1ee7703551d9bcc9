import { type AffineWeightBits, affinePlaneBytes } from '../../ops';
import type { Planes } from '../gptq/planes';

/** Positions that share a shift: see `src/ops/affine_codes.h`. */
const RUN = 16;
const BLOCK_BITS = 128;

/** The codes u8[rows, positions] that planes of `linearAffine` hold: the reverse of `affineRepack`. */
export function readAffinePlanes(
  { codes, high }: Planes,
  { rows, positions, bits }: { rows: number; positions: number; bits: AffineWeightBits },
): Uint8Array {
  const out = new Uint8Array(rows * positions);
  addPlane(codes, { rows, positions, width: bits === 3 ? 2 : bits, shift: 0 }, out);
  if (high) addPlane(high, { rows, positions, width: 1, shift: 2 }, out);
  return out;
}

function addPlane(
  plane: Uint8Array,
  { rows, positions, width, shift }: Record<'rows' | 'positions' | 'width' | 'shift', number>,
  out: Uint8Array,
): void {
  const rowBytes = affinePlaneBytes(positions, width);
  const block = BLOCK_BITS / width;
  const mask = (1 << width) - 1;
  for (let row = 0; row < rows; row++) {
    for (let p = 0; p < positions; p++) {
      const byte = plane[row * rowBytes + Math.floor(p / block) * RUN + (p % RUN)] as number;
      const field = (byte >>> (Math.floor((p % block) / RUN) * width)) & mask;
      const at = row * positions + p;
      out[at] = (out[at] as number) | (field << shift);
    }
  }
}
