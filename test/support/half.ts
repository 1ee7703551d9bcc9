import type { DType } from '../../lib/native';

// Jest looks globals up through its sandbox, which is slow in a loop.
const { abs, floor, fround, log2, min } = Math;
const { is } = Object;
const { NaN: NOT_A_NUMBER, POSITIVE_INFINITY: INFINITE, isNaN: isNotANumber } = Number;
const SINGLE = new Float32Array(1);
const WORD = new Uint32Array(SINGLE.buffer);

/** The nearest value of a 16-bit float format, ties to even, and its bits. */
export interface Half {
  value: number;
  bits: number;
}

/** Rounds a number to IEEE half precision, by arithmetic on its exponent. */
export function toHalf(number: number): Half {
  const sign = number < 0 || is(number, -0) ? 0x8000 : 0;
  if (isNotANumber(number)) return { value: NOT_A_NUMBER, bits: 0x7e00 };
  const size = abs(number);
  const exponent = size < 2 ** -14 ? -14 : min(floor(log2(size)), 16);
  const unit = 2 ** (exponent - 10);
  const rounded = roundEven(size / unit) * unit;
  if (rounded >= 65536) return { value: sign ? -INFINITE : INFINITE, bits: sign | 0x7c00 };
  const value = sign ? -rounded : rounded;
  if (rounded < 2 ** -14) return { value, bits: sign | (rounded * 2 ** 24) };
  const own = floor(log2(rounded));
  const mantissa = rounded * 2 ** (10 - own) - 1024;
  return { value, bits: sign | ((own + 15) << 10) | mantissa };
}

/** Rounds a number to bfloat16: the upper half of a float32. */
export function toBfloat16(number: number): Half {
  SINGLE[0] = number;
  const word = WORD[0] as number;
  if (isNotANumber(number)) return { value: NOT_A_NUMBER, bits: 0x7fc0 };
  const bits = ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
  return { value: fromBfloat16(bits), bits };
}

export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? NOT_A_NUMBER : sign * INFINITE;
  return exponent === 0
    ? sign * mantissa * 2 ** -24
    : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

export function fromBfloat16(bits: number): number {
  WORD[0] = bits << 16;
  return SINGLE[0] as number;
}

/** The value that a dtype stores for a number. */
export function rounded(number: number, dtype: DType): number {
  if (dtype === 'f16') return toHalf(fround(number)).value;
  if (dtype === 'bf16') return toBfloat16(number).value;
  return dtype === 'f32' ? fround(number) : number;
}

/** Rounds to a whole number, ties to even. */
export function roundEven(number: number): number {
  const below = floor(number);
  const rest = number - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
