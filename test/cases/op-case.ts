import type { DType } from '../../lib/native';

/** Dtype of a tensor: fixed, or the one that hidden states or weights have in the run at hand. */
export type CaseDType = DType | 'hidden' | 'weight';

/** How a tensor's values come about; the same values on every device. */
export type Fill = (
  | { kind: 'normal'; seed: number; scale: number }
  /** Whole numbers, both ends included. */
  | { kind: 'integers'; seed: number; low: number; high: number }
  /** Repeated until the tensor is full. */
  | { kind: 'values'; values: readonly number[] }
) & {
  /** Elements (by their index in the contiguous tensor) that are overwritten. */
  at?: Readonly<Record<number, number>>;
  /** Zero outside of the first rows and columns. */
  within?: readonly [rows: number, cols: number];
};

export interface CaseTensor {
  readonly dtype: CaseDType;
  readonly shape: readonly number[];
  readonly fill: Fill;
  /** Elements from one row to the next, when they are spaced apart. */
  readonly rowStride?: number;
  /** Default `read`. */
  readonly access?: 'write' | 'update';
  /** Name of an output that says how many of the elements mean something. */
  readonly lengthIn?: string;
}

/** One invocation of an op, as data: for tests on every back end, and for benchmarks. */
export interface OpCase {
  readonly name: string;
  readonly op: string;
  /** In the order of the op's declaration; null stands for an optional one left out. */
  readonly tensors: Readonly<Record<string, CaseTensor | null>>;
  readonly attrs: Readonly<Record<string, number>>;
  /** Dtypes of hidden states that CUDA implements. */
  readonly hidden: readonly DType[];
}

export const HALVES: readonly DType[] = ['f16', 'bf16'];
export const FLOATS: readonly DType[] = ['f32', 'f16', 'bf16'];
/** For ops without a tensor in the dtype of hidden states. */
export const ONE: readonly DType[] = ['f32'];

export const normal = (seed: number, scale = 1): Fill => ({ kind: 'normal', seed, scale });
export const integers = (seed: number, low: number, high: number): Fill => ({
  kind: 'integers',
  seed,
  low,
  high,
});
export const values = (...list: number[]): Fill => ({ kind: 'values', values: list });

export function input(dtype: CaseDType, shape: readonly number[], fill: Fill): CaseTensor {
  return { dtype, shape, fill };
}

/** An output, filled with something wrong before. */
export function output(dtype: CaseDType, shape: readonly number[]): CaseTensor {
  const isInteger = /^[iu]\d/.test(dtype);
  return { dtype, shape, fill: values(isInteger ? 77 : Number.NaN), access: 'write' };
}

export function update(dtype: CaseDType, shape: readonly number[], fill: Fill): CaseTensor {
  return { dtype, shape, fill, access: 'update' };
}
