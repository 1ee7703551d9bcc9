import type { GptqBits } from '../../ops';

/**
 * Packs the codes u8[N, K] of a weight, output by output, down its input columns: qweight
 * i32[K * bits / 32, N]. The same as `packColumns` of the transpose, but quick: a large model has
 * billions of codes. K must be a multiple of 32.
 */
export function packWeight(codes: Uint8Array, outFeatures: number, bits: GptqBits): Int32Array {
  const words = new Int32Array((codes.length * bits) / 32);
  const inFeatures = codes.length / outFeatures;
  const pack = PACK[bits];
  for (let n = 0; n < outFeatures; n++) {
    const row = codes.subarray(n * inFeatures, (n + 1) * inFeatures);
    pack(row, { words, at: n, stride: outFeatures });
  }
  return words;
}

/** Where the words of one output go. */
interface Column {
  words: Int32Array;
  /** Index of the first word. */
  at: number;
  stride: number;
}

type PackRow = (codes: Uint8Array, column: Column) => void;

const PACK: Record<GptqBits, PackRow> = { 2: packTwo, 3: packThree, 4: packFour, 8: packEight };

function packEight(codes: Uint8Array, { words, at, stride }: Column): void {
  const fours = foursOf(codes);
  for (let i = 0; i < fours.length; i++) words[at + i * stride] = fours[i] as number;
}

function packFour(codes: Uint8Array, { words, at, stride }: Column): void {
  const fours = foursOf(codes);
  for (let i = 0; i < fours.length; i += 2) {
    words[at] = nibbles(fours[i] as number) | (nibbles(fours[i + 1] as number) << 16);
    at += stride;
  }
}

function packTwo(codes: Uint8Array, { words, at, stride }: Column): void {
  const fours = foursOf(codes);
  for (let i = 0; i < fours.length; i += 4) {
    const low = pairs(fours[i] as number) | (pairs(fours[i + 1] as number) << 8);
    const high = pairs(fours[i + 2] as number) | (pairs(fours[i + 3] as number) << 8);
    words[at] = low | (high << 16);
    at += stride;
  }
}

/** 32 codes of 3 bits are 3 words; codes 10 and 21 straddle them. */
function packThree(codes: Uint8Array, { words, at, stride }: Column): void {
  for (let i = 0; i < codes.length; i += 32) {
    const middle = codes[i + 10] as number;
    const last = codes[i + 21] as number;
    let [low, mid, high] = [middle << 30, (middle >>> 2) | (last << 31), last >>> 1];
    for (let j = 0; j < 10; j++) {
      low |= (codes[i + j] as number) << (3 * j);
      mid |= (codes[i + 11 + j] as number) << (3 * j + 1);
      high |= (codes[i + 22 + j] as number) << (3 * j + 2);
    }
    words[at] = low;
    words[at + stride] = mid;
    words[at + 2 * stride] = high;
    at += 3 * stride;
  }
}

/** Four codes a word, the first in its lowest byte. */
function foursOf(codes: Uint8Array): Int32Array {
  return new Int32Array(codes.buffer, codes.byteOffset, codes.length / 4);
}

/** The four bytes of a word, each below 16, as 16 bits. */
function nibbles(word: number): number {
  const two = (word | (word >>> 4)) & 0x00ff00ff;
  return (two | (two >>> 8)) & 0xffff;
}

/** The four bytes of a word, each below 4, as 8 bits. */
function pairs(word: number): number {
  const two = (word | (word >>> 6)) & 0x000f000f;
  return (two | (two >>> 12)) & 0xff;
}
