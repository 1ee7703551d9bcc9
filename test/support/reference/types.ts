import type { HostTensor } from '../host-tensor';

/** Inputs by name; what an optional tensor left out is missing. */
export type Inputs = Readonly<Record<string, HostTensor>>;

/** An op in double precision (or exact integers), written from its declaration alone. */
export type Reference = (
  inputs: Inputs,
  attrs: Readonly<Record<string, number>>,
) => Record<string, Float64Array>;

/** A tensor that the op cannot do without. */
export function given(inputs: Inputs, name: string): HostTensor {
  const tensor = inputs[name];
  if (!tensor) throw new Error(`the case has no tensor ${name}`);
  return tensor;
}

/** Rows and columns of a matrix. */
export function sizeOf({ shape }: HostTensor): [rows: number, cols: number] {
  const cols = shape[shape.length - 1] as number;
  return [shape.slice(0, -1).reduce((product, extent) => product * extent, 1), cols];
}

/** Row `index` of a matrix. */
export function rowOf(tensor: HostTensor, index: number): Float64Array {
  const [, cols] = sizeOf(tensor);
  return tensor.data.subarray(index * cols, (index + 1) * cols);
}

/** A matrix from its rows. */
export function fromRows(rows: readonly ArrayLike<number>[]): Float64Array {
  return Float64Array.from(rows.flatMap((row) => Array.from(row)));
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
