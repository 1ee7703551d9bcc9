import { UnsupportedError } from '../../errors';
import type { GptqBits } from '../../ops';

/**
 * Codes on disk are a little-endian bit stream: code i of a stream occupies bits
 * `[bits * i, bits * (i + 1))` of its 32-bit words, counted from the lowest bit of the first.
 */

/** Where the words of one stream lie. */
interface Stream {
  first: number;
  stride: number;
}

/** Writes a code; one that is too large becomes the largest there is. */
function put(
  words: Int32Array,
  { first, stride }: Stream,
  index: number,
  bits: number,
  code: number,
): void {
  const v = Math.min(code, (1 << bits) - 1);
  const at = first + ((index * bits) >> 5) * stride;
  const shift = (index * bits) & 31;
  words[at] = (words[at] as number) | (v << shift);
  // A shift of 3-bit fields only: fields of other widths never straddle words.
  if (shift + bits > 32) {
    words[at + stride] = (words[at + stride] as number) | (v >>> (32 - shift));
  }
}

function get(words: Int32Array, { first, stride }: Stream, index: number, bits: number): number {
  const at = first + ((index * bits) >> 5) * stride;
  const shift = (index * bits) & 31;
  let value = (words[at] as number) >>> shift;
  if (shift + bits > 32) value |= (words[at + stride] as number) << (32 - shift);
  return value & ((1 << bits) - 1);
}

/** @throws UnsupportedError when a stream ends inside of a word */
function emptyWords(length: number, codes: number, bits: number): Int32Array {
  if ((length * bits) % 32 === 0) return new Int32Array((codes * bits) / 32);
  throw new UnsupportedError(`${length} codes of ${bits} bits do not fill 32-bit words`);
}

/**
 * Packs a `[rows, cols]` matrix of codes down its columns (qweight): `[rows * bits / 32, cols]`.
 * @throws UnsupportedError when a column does not fill whole words
 */
export function packColumns(codes: Uint8Array, cols: number, bits: GptqBits): Int32Array {
  const rows = codes.length / cols;
  const words = emptyWords(rows, codes.length, bits);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      put(words, { first: col, stride: cols }, row, bits, codes[row * cols + col] as number);
    }
  }
  return words;
}

/** The codes `[words / cols * 32 / bits, cols]` of a matrix that was packed down its columns. */
export function unpackColumns(words: Int32Array, cols: number, bits: GptqBits): Uint8Array {
  const codes = new Uint8Array((words.length * 32) / bits);
  const rows = codes.length / cols;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      codes[row * cols + col] = get(words, { first: col, stride: cols }, row, bits);
    }
  }
  return codes;
}

/** Packs each row of a matrix whose rows fill whole words (qzeros): `[rows, cols * bits / 32]`. */
export function packRows(codes: Uint8Array, bits: GptqBits): Int32Array {
  const words = emptyWords(codes.length, codes.length, bits);
  for (const [i, code] of codes.entries()) put(words, { first: 0, stride: 1 }, i, bits, code);
  return words;
}

/** The codes of rows that fill whole words. */
export function unpackRows(words: Int32Array, bits: GptqBits): Uint8Array {
  const codes = new Uint8Array((words.length * 32) / bits);
  for (let i = 0; i < codes.length; i++) codes[i] = get(words, { first: 0, stride: 1 }, i, bits);
  return codes;
}

/** How zero points are stored: `gptq` (v1) holds the zero point less one, `gptq_v2` itself. */
export type ZeroFormat = 'gptq' | 'gptq_v2';

/** A one in each field of a word, for widths that divide 32. */
const ONES: Record<number, number> = { 2: 0x55555555, 4: 0x11111111, 8: 0x01010101 };

/**
 * Packs the zero points `[G, N]`. In v1 the one is subtracted from whole words, so that the borrow
 * of a zero point of 0 spreads into the next field (as GPTQModel writes them); from 3-bit fields it
 * is subtracted one by one.
 */
export function packZeros(zeros: Uint8Array, bits: GptqBits, format: ZeroFormat): Int32Array {
  if (format === 'gptq_v2') return packRows(zeros, bits);
  if (bits === 3) return packRows(shifted(zeros, 7), bits);
  const one = ONES[bits] as number;
  return packRows(zeros, bits).map((word) => (word - one) | 0);
}

/** The zero points `[G, N]` of what `packZeros` wrote. */
export function unpackZeros(words: Int32Array, bits: GptqBits, format: ZeroFormat): Uint8Array {
  if (format === 'gptq_v2') return unpackRows(words, bits);
  if (bits === 3) return shifted(unpackRows(words, bits), 1);
  const one = ONES[bits] as number;
  return unpackRows(
    words.map((word) => (word + one) | 0),
    bits,
  );
}

/** 3-bit fields plus `by`, modulo 8. */
function shifted(fields: Uint8Array, by: number): Uint8Array {
  return fields.map((field) => (field + by) & 7);
}
