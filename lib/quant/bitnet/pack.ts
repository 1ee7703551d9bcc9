import { UnsupportedError } from '../../errors';
import { alignBitnet } from '../../ops';

/** How far left a code lies in its word; see `src/ops/bitnet_layout.h`. */
const fieldShift = (column: number): number => (column % 4) * 8 + ((column % 16) >> 2) * 2;

/**
 * Ternary codes as Hugging Face packs them: u8[N / 4, K], where a byte holds one column of four rows
 * that are a quarter of N apart.
 * @param bytes rows as `linear_bitnet` reads them @param k columns, without padding
 * @throws UnsupportedError when the rows are not four quarters
 */
export function packQuarters(name: string, bytes: Uint8Array, k: number): Uint8Array {
  const wordsPerRow = alignBitnet(k) / 16;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const rows = words.length / wordsPerRow;
  if (rows % 4 !== 0) {
    throw new UnsupportedError(
      `${name} has ${rows} outputs, and only multiples of 4 can be packed as ternary weights: leave ` +
        'it in full precision (skipModules)',
    );
  }
  const quarter = rows / 4;
  const packed = new Uint8Array(quarter * k);
  for (let row = 0; row < rows; row++) {
    const shift = 2 * Math.floor(row / quarter);
    const to = (row % quarter) * k;
    for (let column = 0; column < k; column++) {
      const word = words[row * wordsPerRow + (column >> 4)] as number;
      const code = (word >>> fieldShift(column)) & 3;
      packed[to + column] = (packed[to + column] as number) | (code << shift);
    }
  }
  return packed;
}
