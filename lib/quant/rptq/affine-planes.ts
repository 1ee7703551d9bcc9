import { type AffineWeightBits, affinePlaneBytes } from '../../ops';
import type { Planes } from '../gptq/planes';

/** Positions whose fields lie together. */
const CHUNK = 128;

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
  const mask = (1 << width) - 1;
  const fields = Array.from({ length: positions }, (_, p) => fieldOf(p, width));
  for (let row = 0; row < rows; row++) {
    for (const [p, { byte, bit }] of fields.entries()) {
      const field = ((plane[row * rowBytes + byte] as number) >>> bit) & mask;
      const at = row * positions + p;
      out[at] = (out[at] as number) | (field << shift);
    }
  }
}

/** Where the field of a position is: see `src/ops/affine_codes.h`. */
function fieldOf(position: number, width: number): { byte: number; bit: number } {
  const chunk = Math.floor(position / CHUNK);
  const inChunk = position % CHUNK;
  const part = Math.floor(inChunk / 4) % 4;
  const bit = Math.floor(inChunk / 16) * width;
  const word = (chunk * (CHUNK / 8) + part * 4) * width + Math.floor(bit / 8) * 4;
  return { byte: word + (inChunk % 4), bit: bit % 8 };
}
