import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { openSafetensors } from '../checkpoint/safetensors';
import { OUTLIER_COLUMNS_FILE } from '../pretrained/save';
import { formatBytes } from './output/format';

/** Bytes of a checkpoint's tensors by their dtype on disk, the largest first. */
export type StoredBytes = Record<string, number>;

/** Counts the tensors of a checkpoint, and of the file that an 8-bit save may put beside it. */
export async function storedBytes({ folder, tensors }: Checkpoint): Promise<StoredBytes> {
  const beside = join(folder, OUTLIER_COLUMNS_FILE);
  const extra = existsSync(beside) ? [...(await openSafetensors(beside)).tensors.values()] : [];
  const bytes: StoredBytes = {};
  for (const { dtype, byteLength } of [...tensors.values(), ...extra]) {
    bytes[dtype] = (bytes[dtype] ?? 0) + byteLength;
  }
  return Object.fromEntries(Object.entries(bytes).sort(([, a], [, b]) => b - a));
}

/** For example `8.9 MB (f16 8.9 MB)`. */
export function describeBytes(bytes: StoredBytes): string {
  const parts = Object.entries(bytes).map(([dtype, count]) => `${dtype} ${formatBytes(count)}`);
  const total = Object.values(bytes).reduce((sum, count) => sum + count, 0);
  return `${formatBytes(total)} (${parts.join(', ')})`;
}
