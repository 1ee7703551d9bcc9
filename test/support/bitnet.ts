import { alignBitnet } from '../../lib/ops';
import { integer } from './random';

/** How far left a code lies in its word; see `src/ops/bitnet_layout.h`. */
const fieldShift = (index: number): number => (index % 4) * 8 + (index >> 2) * 2;

/** The bytes of packed rows, from the ternary values of a matrix of `k` columns. */
export function packTernary(ternary: ArrayLike<number>, k: number): Uint8Array {
  const rows = ternary.length / k;
  const perRow = alignBitnet(k) / 16;
  const words = new Uint32Array(rows * perRow).fill(0x55555555);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < k; column++) {
      const index = row * perRow + (column >> 4);
      const shift = fieldShift(column & 15);
      const code = (ternary[row * k + column] as number) + 1;
      words[index] = ((words[index] as number) & ~(3 << shift)) | (code << shift);
    }
  }
  return new Uint8Array(words.buffer);
}

/** The ternary values of packed rows. */
export function unpackTernary(bytes: ArrayLike<number>, k: number): Int8Array {
  const perRow = alignBitnet(k) / 16;
  const rows = bytes.length / (4 * perRow);
  const words = new Uint32Array(Uint8Array.from(bytes).buffer);
  const ternary = new Int8Array(rows * k);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < k; column++) {
      const word = words[row * perRow + (column >> 4)] as number;
      ternary[row * k + column] = ((word >>> fieldShift(column & 15)) & 3) - 1;
    }
  }
  return ternary;
}

/** Hugging Face's form: u8[N / 4, K], four rows a quarter of N apart in a byte. */
export function packQuarters(ternary: ArrayLike<number>, k: number): Uint8Array {
  const size = ternary.length / 4;
  const packed = new Uint8Array(size);
  for (let at = 0; at < ternary.length; at++) {
    const quarter = (at / size) | 0;
    const code = (ternary[at] as number) + 1;
    packed[at % size] = (packed[at % size] as number) | (code << (2 * quarter));
  }
  if (size % k !== 0) throw new Error(`${ternary.length / k} rows are not four quarters`);
  return packed;
}

/** A reproducible ternary matrix. */
export function ternaryMatrix(seed: number, n: number, k: number): Int8Array {
  const next = integer(seed, -1, 1);
  const matrix = new Int8Array(n * k);
  for (let i = 0; i < matrix.length; i++) matrix[i] = next();
  return matrix;
}
