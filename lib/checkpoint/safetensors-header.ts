// The header of a safetensors file: u64 little-endian length, then that many bytes of JSON, padded
// with spaces: {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
// "__metadata__": {string: string}}. Offsets count from the end of the header; tensors fill the rest
// of the file without holes. https://github.com/huggingface/safetensors (format section).
import { CheckpointError } from '../errors';
import { isJsonObject, parseJson } from './json';
import type { StorageDtype } from './storage-dtype';
import { bytesPerElement, STORAGE_DTYPES, storageDtypeOf } from './storage-dtype';
import type { TensorInfo } from './tensor-info';

/** Bytes of the length field in front of the header. */
export const LENGTH_BYTES = 8;
/** Longest header that is accepted, as in the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;
/** Key of the free-form string map among the tensor names. */
export const METADATA_KEY = '__metadata__';

const MAX_RANK = 64;
/** Parts of a dotted name that would reach an object's prototype if it were used as a path. */
const RESERVED_PARTS = ['__proto__', 'constructor', 'prototype'];
const DAMAGED = 'The file is damaged or was not fetched completely: fetch or export it again.';

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Refuses a file: what is wrong where, and what to do. */
export function refuse(file: string, what: string, advice: string = DAMAGED): never {
  throw new CheckpointError(`${file}: ${what}. ${advice}`);
}

/**
 * Checks the header's length field against the size of the file.
 * @param prefix the first bytes of the file, at most 8
 * @returns bytes of JSON
 */
export function headerLength(prefix: Uint8Array, fileSize: number, file: string): number {
  if (prefix.byteLength < LENGTH_BYTES) {
    refuse(file, `${fileSize} bytes are too few for a safetensors file`);
  }
  if (Buffer.from(prefix).toString('latin1') === 'version ') {
    refuse(file, 'it is a Git LFS pointer, not the tensors', "Run 'git lfs pull' in its folder.");
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    refuse(file, `its header claims ${length} bytes; the limit is ${MAX_HEADER_BYTES}`);
  }
  if (Number(length) > fileSize - LENGTH_BYTES) {
    refuse(file, `its header claims ${length} bytes, but the file has only ${fileSize}`);
  }
  return Number(length);
}

/**
 * Parses and checks a header: every tensor lies inside the file, has the bytes that its dtype and
 * shape need, and together they cover the file without overlap or hole.
 * @param json the header without its length field
 * @throws CheckpointError naming the file, the tensor and what was found
 */
export function parseHeader(json: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  let header: unknown;
  try {
    header = parseJson(json);
  } catch (error) {
    refuse(file, `its header cannot be parsed: ${(error as Error).message}`);
  }
  if (!isJsonObject(header)) refuse(file, 'its header is not a JSON object');

  const dataStart = LENGTH_BYTES + json.byteLength;
  const tensors = new Map<string, TensorInfo>();
  let metadata = new Map<string, string>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === METADATA_KEY) metadata = parseMetadata(entry, file);
    else tensors.set(name, parseEntry(name, entry, dataStart, fileSize, file));
  }
  checkCoverage([...tensors.values()], dataStart, fileSize, file);
  return { tensors, metadata };
}

function parseMetadata(entry: unknown, file: string): Map<string, string> {
  if (!isJsonObject(entry)) refuse(file, `${METADATA_KEY} is not an object`);
  const metadata = new Map<string, string>();
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== 'string') {
      refuse(file, `${METADATA_KEY} holds ${show(value)} under ${show(key)}, not a string`);
    }
    metadata.set(key, value);
  }
  return metadata;
}

function parseEntry(
  name: string,
  entry: unknown,
  dataStart: number,
  fileSize: number,
  file: string,
): TensorInfo {
  const fail = (what: string, advice?: string): never =>
    refuse(file, `tensor ${show(name)}: ${what}`, advice);

  if (name === '' || name.split('.').some((part) => RESERVED_PARTS.includes(part))) {
    fail('this name is reserved', 'Rename the tensor.');
  }
  if (!isJsonObject(entry)) return fail(`its entry is ${show(entry)}, not an object`);
  const dtype = storageDtypeOf(entry.dtype);
  if (!dtype) {
    const known = STORAGE_DTYPES.map((known) => known.toUpperCase()).join(', ');
    return fail(`unknown dtype ${show(entry.dtype)}`, `Convert it to one of ${known}.`);
  }
  const { shape, data_offsets: offsets } = entry;
  if (!isSizes(shape) || shape.length > MAX_RANK) {
    return fail(`shape ${show(shape)} is not a list of at most ${MAX_RANK} whole numbers >= 0`);
  }
  if (!isSizes(offsets) || offsets.length !== 2) {
    return fail(`data_offsets ${show(offsets)} are not two whole numbers >= 0`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) fail(`data_offsets ${show(offsets)} run backwards`);
  if (end > fileSize - dataStart) {
    fail(`it ends at byte ${dataStart + end}, but the file has only ${fileSize}`);
  }
  const needed = byteLengthOf(dtype, shape);
  if (needed !== end - begin) {
    fail(`${dtype}[${shape.join(', ')}] needs ${needed} bytes, data_offsets give ${end - begin}`);
  }
  return { name, file, offset: dataStart + begin, byteLength: end - begin, dtype, shape };
}

/** Bytes of a dense tensor; not a safe integer when the shape is absurd. */
export function byteLengthOf(dtype: StorageDtype, shape: readonly number[]): number {
  // A zero extent wins over any others, also when their product alone would overflow.
  if (shape.includes(0)) return 0;
  return shape.reduce((bytes, extent) => bytes * extent, bytesPerElement(dtype));
}

function checkCoverage(
  tensors: TensorInfo[],
  dataStart: number,
  fileSize: number,
  file: string,
): void {
  let position = dataStart;
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const { name, offset, byteLength } of tensors) {
    if (offset !== position) {
      const what = offset < position ? 'overlaps the tensor before it' : 'leaves a hole before it';
      refuse(file, `tensor ${show(name)} starts at byte ${offset}, not ${position}: it ${what}`);
    }
    position += byteLength;
  }
  if (position !== fileSize) {
    refuse(file, `the tensors end at byte ${position}, but the file has ${fileSize}`);
  }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** JSON of a value for messages, shortened. */
function show(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = 'a value nested too deeply to print';
  }
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
