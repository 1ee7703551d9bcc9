import type { DType } from '../../lib/native';
import { elementsOf, type HostArray, hostArray } from '../../lib/tensor';
import type { CaseTensor, Fill } from '../cases/op-case';
import { fromBfloat16, fromHalf, rounded, toBfloat16, toHalf } from './half';
import { gaussian, integer } from './random';

/** Values on the host in double precision. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** The values of a case's tensor, each rounded to what `stored` holds. */
export function hostTensor({ shape, fill }: CaseTensor, stored: DType): HostTensor {
  const data = new Float64Array(elementsOf(shape));
  const next = generator(fill);
  const cols = shape[shape.length - 1] ?? 1;
  const [rows, width] = fill.within ?? [data.length, cols];
  for (let i = 0; i < data.length; i++) {
    const value = next(i);
    data[i] = i < rows * cols && i % cols < width ? rounded(value, stored) : 0;
  }
  for (const [index, value] of Object.entries(fill.at ?? {})) {
    data[Number(index)] = rounded(value, stored);
  }
  return { shape, data };
}

function generator(fill: Fill): (index: number) => number {
  if (fill.kind === 'values') {
    return (index) => fill.values[index % fill.values.length] as number;
  }
  if (fill.kind === 'integers') return integer(fill.seed, fill.low, fill.high);
  const next = gaussian(fill.seed);
  return () => next() * fill.scale;
}

/** Encodes values as a tensor of the dtype is written. */
export function encode(data: Float64Array, dtype: DType): HostArray {
  const array = hostArray(dtype, data.length);
  if (array instanceof BigInt64Array) {
    for (const [i, value] of data.entries()) array[i] = BigInt(value);
  } else if (dtype === 'f16' || dtype === 'bf16') {
    const convert = dtype === 'f16' ? toHalf : toBfloat16;
    for (let i = 0; i < data.length; i++) array[i] = convert(data[i] as number).bits;
  } else {
    (array as Float32Array).set(data);
  }
  return array;
}

/** The values of what was read from a tensor. */
export function decode(array: HostArray, dtype: DType): Float64Array {
  const data = new Float64Array(array.length);
  const convert = dtype === 'f16' ? fromHalf : dtype === 'bf16' ? fromBfloat16 : Number;
  for (let i = 0; i < data.length; i++) data[i] = convert(array[i] as number);
  return data;
}
