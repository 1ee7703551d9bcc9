/** 4 fields of 2 bits, and 8 top bits, spread to where they lie in a stream of 3-bit codes. */
const LOW = Int32Array.from({ length: 256 }, (_, byte) => spread(byte, 2, 0));
const TOP = Int32Array.from({ length: 256 }, (_, byte) => spread(byte, 1, 2));

function spread(byte: number, width: number, shift: number): number {
  let bits = 0;
  for (let i = 0; i * width < 8; i++) {
    bits |= ((byte >> (i * width)) & ((1 << width) - 1)) << (3 * i + shift);
  }
  return bits;
}

/**
 * Turns 3-bit codes in the planar layout (`gptq_p`) into the stream of bits that the other formats
 * have. Planar words come in threes: the low 2 bits of codes 0 .. 15, those of codes 16 .. 31, and the
 * top bits of all 32, each from the lowest bit up. Widths that divide 32 are a stream already.
 * @param words changed in place
 * @param cols distance of neighbouring words of a stream: the columns of qweight, 1 for qzeros
 */
export function planarToStream(words: Int32Array, cols: number): void {
  for (let row = 0; row < words.length; row += 3 * cols) {
    for (let at = row; at < row + cols; at++) {
      const first = words[at] as number;
      const second = words[at + cols] as number;
      const top = words[at + 2 * cols] as number;
      // 8 codes each.
      const a = eight(first, top);
      const b = eight(first >>> 16, top >>> 8);
      const c = eight(second, top >>> 16);
      const d = eight(second >>> 16, top >>> 24);
      words[at] = a | (b << 24);
      words[at + cols] = (b >>> 8) | (c << 16);
      words[at + 2 * cols] = (c >>> 16) | (d << 8);
    }
  }
}

/** 24 bits of a stream from the low 16 bits of one word and the low 8 of another. */
function eight(low: number, top: number): number {
  return (
    (LOW[low & 255] as number) |
    ((LOW[(low >> 8) & 255] as number) << 12) |
    (TOP[top & 255] as number)
  );
}
