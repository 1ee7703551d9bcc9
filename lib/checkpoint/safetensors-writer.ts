import type { FileHandle } from 'node:fs/promises';
import { CheckpointError, FewbitError, OptionsError } from '../errors';
import type { FileToWrite } from './atomic-files';
import { replaceFiles, writeFully } from './atomic-files';
import { byteLengthOf, LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY } from './safetensors-header';
import type { StorageDtype } from './storage-dtype';
import { bytesPerElement, STORAGE_DTYPES } from './storage-dtype';

/** The elements of a tensor, row-major and little-endian: at once, or in pieces in order. */
export type TensorData = ArrayBufferView | AsyncIterable<ArrayBufferView>;

/** A tensor to be written. A function as `data` is called when it is this tensor's turn. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: StorageDtype;
  readonly shape: readonly number[];
  readonly data: TensorData | (() => TensorData | Promise<TensorData>);
}

/** What transformers writes; its loader wants to see it. */
export const DEFAULT_METADATA: Readonly<Record<string, string>> = { format: 'pt' };

/** Data starts at a multiple of this, so that mapped tensors are aligned. */
const ALIGNMENT = 8;

/**
 * Writes one safetensors file. Tensors are asked for their data one after the other, in the order
 * in which they lie in the file: wider dtypes first, then by name. The file appears under its name
 * only when it is complete and on disk.
 * @throws OptionsError when a tensor's description or its data are wrong
 * @throws CheckpointError when the file cannot be written (disk full, no permission)
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  metadata: Readonly<Record<string, string>> = DEFAULT_METADATA,
): Promise<void> {
  await writeAll([safetensorsFile(path, [...tensors], metadata)]);
}

/** A safetensors file ready to be written by `writeAll`. Descriptions are checked here. */
export function safetensorsFile(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
): FileToWrite {
  const ordered = [...tensors].sort(byFileOrder);
  const header = buildHeader(ordered, metadata, path);
  return {
    path,
    async write(handle) {
      await writeFully(handle, header);
      for (const tensor of ordered) await writeTensor(handle, tensor);
    },
  };
}

/** `replaceFiles` with the file system's failures as CheckpointErrors. */
export async function writeAll(files: readonly FileToWrite[]): Promise<void> {
  try {
    await replaceFiles(files);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (cause instanceof FewbitError || !code || !files[0]) throw cause;
    const advice = code === 'ENOSPC' ? ' Free disk space or choose another folder.' : '';
    throw new CheckpointError(`${files[0].path} cannot be written: ${message}.${advice}`, {
      cause,
    });
  }
}

/** Bytes that a tensor will take. @throws OptionsError when its description is wrong */
export function sourceBytes({ name, dtype, shape }: TensorSource): number {
  if (!STORAGE_DTYPES.includes(dtype)) {
    throw new OptionsError(`tensor ${name}: '${dtype}' is no dtype of safetensors`);
  }
  const bytes = byteLengthOf(dtype, shape);
  if (!shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
    throw new OptionsError(`tensor ${name}: [${shape.join(', ')}] is not a shape`);
  }
  if (!Number.isSafeInteger(bytes)) {
    throw new OptionsError(`tensor ${name}: [${shape.join(', ')}] is too large`);
  }
  return bytes;
}

function byFileOrder(a: TensorSource, b: TensorSource): number {
  const width = bytesPerElement(b.dtype) - bytesPerElement(a.dtype);
  return width || (a.name < b.name ? -1 : Number(a.name > b.name));
}

function buildHeader(
  ordered: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
  path: string,
): Uint8Array {
  const names = new Set<string>([METADATA_KEY]);
  const entries = [`${JSON.stringify(METADATA_KEY)}:${JSON.stringify(metadata)}`];
  let end = 0;
  for (const tensor of ordered) {
    const { name, dtype, shape } = tensor;
    if (names.has(name)) throw new OptionsError(`tensor ${name} is given twice for ${path}`);
    names.add(name);
    const begin = end;
    end += sourceBytes(tensor);
    const entry = { dtype: dtype.toUpperCase(), shape, data_offsets: [begin, end] };
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
  const json = Buffer.from(`{${entries.join(',')}}`);
  const length = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  if (length > MAX_HEADER_BYTES) throw new OptionsError(`${path} would hold too many tensors`);
  const header = Buffer.alloc(LENGTH_BYTES + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, LENGTH_BYTES);
  return header;
}

async function writeTensor(handle: FileHandle, tensor: TensorSource): Promise<void> {
  const { name, data } = tensor;
  const needed = sourceBytes(tensor);
  const given = typeof data === 'function' ? await data() : data;
  let written = 0;
  for await (const view of ArrayBuffer.isView(given) ? [given] : given) {
    written += view.byteLength;
    if (written > needed) break;
    await writeFully(handle, view);
  }
  if (written !== needed) {
    const found = written > needed ? 'more' : `only ${written}`;
    throw new OptionsError(
      `tensor ${name} needs ${needed} bytes of data, its source gave ${found}`,
    );
  }
}
