import { type GptqBits, gptqLowWidth, gptqPlaneBytes } from '../../ops';

/** The host's copy of the planes of some weight rows; see `src/ops/gptq_layout.h`. */
export interface Planes {
  codes: Uint8Array;
  high: Uint8Array | undefined;
}

/** How planes are laid out. */
export interface PlaneLayout {
  rowBytes(positions: number, width: number): number;
  /** Where the field of a position is in its row; it lies in one byte. */
  fieldOf(position: number, width: number): { byte: number; bit: number };
}

const GPTQ_LAYOUT: PlaneLayout = {
  rowBytes: gptqPlaneBytes,
  fieldOf(position, width) {
    const perWord = 32 / width;
    const shift = fieldShift(position % perWord, width);
    return { byte: Math.floor(position / perWord) * 4 + (shift >> 3), bit: shift & 7 };
  },
};

/** The codes u8[rows, positions] that planes hold: by default the reverse of `gptq_repack`. */
export function readPlanes(
  { codes, high }: Planes,
  { rows, positions, bits }: { rows: number; positions: number; bits: GptqBits },
  layout = GPTQ_LAYOUT,
): Uint8Array {
  const out = new Uint8Array(rows * positions);
  const addPlane = (plane: Uint8Array, width: number, shift: number): void => {
    const rowBytes = layout.rowBytes(positions, width);
    const mask = (1 << width) - 1;
    const fields = Array.from({ length: positions }, (_, p) => layout.fieldOf(p, width));
    for (let row = 0; row < rows; row++) {
      for (const [p, { byte, bit }] of fields.entries()) {
        const field = ((plane[row * rowBytes + byte] as number) >>> bit) & mask;
        const at = row * positions + p;
        out[at] = (out[at] as number) | (field << shift);
      }
    }
  };
  addPlane(codes, gptqLowWidth(bits), 0);
  if (high) addPlane(high, 1, 2);
  return out;
}

/** `field_shift` of `src/ops/gptq_layout.h`. */
function fieldShift(index: number, width: number): number {
  const pair = index >> 1;
  const half = (index & 1) * 16;
  if (width > 1) return half + pair * width;
  return half + ((pair % 8) >> 1) * 4 + (pair < 8 ? 2 + (pair % 2) : 1 - (pair % 2));
}
