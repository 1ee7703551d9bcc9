import type { StorageDtype } from './storage-dtype';

/** Where a tensor of a checkpoint lies and what it holds. Row-major, little-endian. */
export interface TensorInfo {
  readonly name: string;
  /** Path of the file that holds it. */
  readonly file: string;
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
  readonly dtype: StorageDtype;
  /** Extents, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
}

/** Short form for messages, e.g. `"lm_head.weight" f16[4096, 256]`. */
export function describeTensor({ name, dtype, shape }: TensorInfo): string {
  return `${JSON.stringify(name)} ${dtype}[${shape.join(', ')}]`;
}
