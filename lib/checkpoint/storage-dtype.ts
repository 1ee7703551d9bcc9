import { UnsupportedError } from '../errors';
import type { DType } from '../native';

/** Bytes per element of every dtype that a safetensors header may name, in lower case. */
const BYTES = {
  bool: 1,
  u8: 1,
  i8: 1,
  f8_e4m3: 1,
  f8_e5m2: 1,
  f8_e8m0: 1,
  u16: 2,
  i16: 2,
  f16: 2,
  bf16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
  c64: 8,
} as const;

/** The native dtypes that tensors can be loaded as without conversion. */
const LOADABLE: readonly string[] = [
  'f32',
  'f16',
  'bf16',
  'i8',
  'u8',
  'i32',
  'i64',
] satisfies DType[];

/** Element type of a stored tensor: the safetensors name in lower case. */
export type StorageDtype = keyof typeof BYTES;

export const STORAGE_DTYPES = Object.keys(BYTES) as readonly StorageDtype[];

/** Bytes per element. */
export function bytesPerElement(dtype: StorageDtype): number {
  return BYTES[dtype];
}

/** The dtype that a safetensors header calls `name`, e.g. `BF16`; undefined when unknown. */
export function storageDtypeOf(name: unknown): StorageDtype | undefined {
  return STORAGE_DTYPES.find((dtype) => dtype.toUpperCase() === name);
}

/**
 * The dtype as one that native tensors have.
 * @param what names the tensor in the error
 * @throws UnsupportedError for f64, bool, float8 and other types that no op takes
 */
export function loadableDtype(dtype: StorageDtype, what: string): DType {
  if (LOADABLE.includes(dtype)) return dtype as DType;
  throw new UnsupportedError(
    `${what} is stored as ${dtype}, which cannot be loaded. Convert it to one of ` +
      `${LOADABLE.join(', ')}.`,
  );
}
