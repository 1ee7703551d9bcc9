import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { CheckpointError } from '../errors';
import type { SafetensorsHeader } from './safetensors-header';
import { headerLength, LENGTH_BYTES, parseHeader, refuse } from './safetensors-header';
import type { TensorInfo } from './tensor-info';
import { describeTensor } from './tensor-info';

/** Largest tensor that `readTensor` takes; bigger ones are mapped by native code instead. */
const MAX_READ_BYTES = 64 * 2 ** 20;

export interface SafetensorsFile extends SafetensorsHeader {
  readonly path: string;
  /** Bytes of the whole file. */
  readonly size: number;
}

/**
 * Reads and checks the header of a safetensors file; the tensors stay on disk.
 * @throws CheckpointError when the file is missing, truncated, damaged or hostile
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  return withFile(path, async (handle) => {
    const stats = await handle.stat();
    if (!stats.isFile()) refuse(path, 'it is not a file', 'Name a .safetensors file.');
    const prefix = await readAt(handle, 0, Math.min(LENGTH_BYTES, stats.size));
    const length = headerLength(prefix, stats.size, path);
    const json = await readAt(handle, LENGTH_BYTES, length);
    if (json.byteLength !== length) refuse(path, 'it became shorter while it was read');
    return { path, size: stats.size, ...parseHeader(json, stats.size, path) };
  });
}

/**
 * The bytes of one small tensor (at most 64 MiB), little-endian.
 * @throws CheckpointError when the file changed since its header was read
 */
export async function readTensor(info: TensorInfo): Promise<Uint8Array> {
  const { file, offset, byteLength } = info;
  if (byteLength > MAX_READ_BYTES) {
    const what = `${describeTensor(info)} has ${byteLength} bytes`;
    refuse(file, what, `Only tensors of up to ${MAX_READ_BYTES} bytes are read this way.`);
  }
  return withFile(file, async (handle) => {
    const bytes = await readAt(handle, offset, byteLength);
    if (bytes.byteLength !== byteLength) {
      refuse(file, `it became shorter: ${describeTensor(info)} is cut off`);
    }
    return bytes;
  });
}

/** Opens a file for reading around `use`; failures of the file system become CheckpointErrors. */
async function withFile<T>(path: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    return await use(handle);
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw new CheckpointError(`${path} cannot be read: ${(cause as Error).message}`, { cause });
  } finally {
    await handle?.close();
  }
}

/** Up to `length` bytes; fewer only at the end of the file. */
async function readAt(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
