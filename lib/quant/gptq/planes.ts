import { type GptqBits, gptqLowWidth, gptqPlaneBytes } from '../../ops';

/** The host's copy of the planes of some weight rows; see `src/ops/gptq_layout.h`. */
export interface Planes {
  codes: Uint8Array;
  high: Uint8Array | undefined;
}

/** The codes u8[rows, positions] that planes hold: the reverse of `gptq_repack`. */
export function readPlanes(
  { codes, high }: Planes,
  { rows, positions, bits }: { rows: number; positions: number; bits: GptqBits },
): Uint8Array {
  const out = new Uint8Array(rows * positions);
  addPlane(codes, { rows, positions, width: gptqLowWidth(bits), shift: 0 }, out);
  if (high) addPlane(high, { rows, positions, width: 1, shift: 2 }, out);
  return out;
}

function addPlane(
  plane: Uint8Array,
  { rows, positions, width, shift }: Record<'rows' | 'positions' | 'width' | 'shift', number>,
  out: Uint8Array,
): void {
  const perWord = 32 / width;
  const mask = (1 << width) - 1;
  const words = new Uint32Array(plane.buffer, plane.byteOffset, plane.length / 4);
  const rowWords = gptqPlaneBytes(positions, width) / 4;
  for (let row = 0; row < rows; row++) {
    for (let p = 0; p < positions; p++) {
      const word = words[row * rowWords + Math.floor(p / perWord)] as number;
      const index = p % perWord;
      const field = (word >>> fieldShift(index, width)) & mask;
      const at = row * positions + p;
      out[at] = (out[at] as number) | (field << shift);
    }
  }
}

/** `field_shift` of `src/ops/gptq_layout.h`. */
function fieldShift(index: number, width: number): number {
  const pair = index >> 1;
  const half = (index & 1) * 16;
  if (width > 1) return half + pair * width;
  return half + ((pair % 8) >> 1) * 4 + (pair < 8 ? 2 + (pair % 2) : 1 - (pair % 2));
}
