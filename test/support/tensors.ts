import type { Device } from '../../lib/device';
import type { DType } from '../../lib/native';
import type { Tensor } from '../../lib/tensor';
import { decode, encode } from './host-tensor';
import { gaussian } from './random';

/** A tensor of numbers, rounded to the dtype; freed at the end of the device's scope. */
export function tensorOf(
  device: Device,
  dtype: DType,
  shape: number[],
  numbers: ArrayLike<number>,
): Tensor {
  return device.empty(dtype, shape).write(encode(Float64Array.from(numbers), dtype));
}

/** The elements of a tensor as numbers. */
export function numbersOf(tensor: Tensor): number[] {
  return Array.from(decode(tensor.read(), tensor.dtype));
}

/** Standard normal numbers times `scale`. */
export function normals(count: number, seed: number, scale = 1): Float64Array {
  const next = gaussian(seed);
  const numbers = new Float64Array(count);
  for (let i = 0; i < count; i++) numbers[i] = next() * scale;
  return numbers;
}
