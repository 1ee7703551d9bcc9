import { type AffineWeightBits, affinePlaneBytes } from '../../ops';
import { type Planes, readPlanes } from '../gptq/planes';

/** Positions whose fields lie together. */
const CHUNK = 128;

/** The codes u8[rows, positions] that planes of `linearAffine` hold: the reverse of `affineRepack`. */
export function readAffinePlanes(
  planes: Planes,
  shape: { rows: number; positions: number; bits: AffineWeightBits },
): Uint8Array {
  return readPlanes(planes, shape, { rowBytes: affinePlaneBytes, fieldOf });
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
