import type { RawTensor } from './golden';
import type { Tensors } from './gptq-checkpoint';
import { fromHalf } from './half';

/**
 * The weight [N, K] that the GPTQ tensors of a layer stand for, by the definition of the format and
 * without code of the library.
 * @param v1 whether zero points are stored less one
 */
export function dequantized(tensors: Tensors, name: string, bits: number, v1: boolean): number[] {
  const get = (suffix: string) => tensors.get(`${name}.${suffix}`) as RawTensor;
  const ints = (suffix: string) => new Int32Array(get(suffix).bytes.buffer);
  const [k, n] = [ints('g_idx').length, get('qweight').shape[1] as number];
  const [codes, zeros] = [ints('qweight'), ints('qzeros')];
  const scales = Array.from(new Uint16Array(get('scales').bytes.buffer), fromHalf);
  const groupOf = ints('g_idx');
  const zeroWords = (n * bits) / 32;
  const weight: number[] = [];
  for (let row = 0; row < n; row++) {
    for (let col = 0; col < k; col++) {
      const group = groupOf[col] as number;
      const code = field(bits, col, (word) => codes[word * n + row] as number);
      const stored = field(bits, row, (word) => zeros[group * zeroWords + word] as number);
      const zero = v1 ? (stored + 1) % 2 ** bits : stored;
      weight.push((scales[group * n + row] as number) * (code - zero));
    }
  }
  return weight;
}

/** A field of a little-endian bit stream, bit by bit. */
function field(bits: number, index: number, word: (index: number) => number): number {
  let value = 0;
  for (let bit = 0; bit < bits; bit++) {
    const at = index * bits + bit;
    value |= ((word(at >> 5) >>> (at & 31)) & 1) << bit;
  }
  return value;
}
