// Finds the safetensors files of a model folder and indexes their tensors by name.
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CheckpointError } from '../errors';
import { refuseForeignWeights } from './foreign-weights';
import { isJsonObject, readJsonObject } from './json';
import type { SafetensorsFile } from './safetensors';
import { openSafetensors } from './safetensors';
import type { TensorInfo } from './tensor-info';

/** Name of an unsharded model's file. */
export const WEIGHTS_FILE = 'model.safetensors';
/** Name of a sharded model's index: `{"weight_map": {tensor: file}}`. */
export const INDEX_FILE = `${WEIGHTS_FILE}.index.json`;

const INDEX_SUFFIX = '.safetensors.index.json';
const ADAPTER_FILE = 'adapter_model.safetensors';
/** Safetensors files that hold something else than the model, or the model a second time. */
const NOT_THE_MODEL = /^(adapter_model|consolidated|optimizer|scheduler|fewbit)(\b|_)/;
/** Headers read at a time: enough to hide the latency of a network file system. */
const CONCURRENCY = 8;

export interface Weights {
  readonly files: readonly SafetensorsFile[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/**
 * Opens a model folder's safetensors files: `model.safetensors`, or the shards that an index names,
 * or the only safetensors file there is.
 * @throws CheckpointError when there are none (with advice for pickle files, GGUF and adapters), or
 * when the index and the files disagree
 */
export async function openWeights(folder: string): Promise<Weights> {
  const names = await listFolder(folder);
  if (names.includes(WEIGHTS_FILE)) return openSingle(join(folder, WEIGHTS_FILE));

  const index = pickIndex(folder, names);
  if (index) return openSharded(folder, index, names);

  const candidates = pickSingle(names);
  if (candidates.length === 1) return openSingle(join(folder, candidates[0] as string));
  if (candidates.length > 1) {
    throw new CheckpointError(
      `${folder} holds several safetensors files and no ${INDEX_FILE} that says how they belong ` +
        `together: ${candidates.join(', ')}. Keep one, named ${WEIGHTS_FILE}, or add the index.`,
    );
  }
  if (names.includes(ADAPTER_FILE)) {
    throw new CheckpointError(
      `${folder} holds only an adapter (${ADAPTER_FILE}). Merge it into its base model first: ` +
        'PEFT merge_and_unload(), then save_pretrained().',
    );
  }
  refuseForeignWeights(names, folder);
  throw new CheckpointError(
    `${folder} holds no safetensors files. Name the folder that holds ${WEIGHTS_FILE}.`,
  );
}

/** The one index file among names of a folder or repository; undefined when there is none. */
export function pickIndex(where: string, names: readonly string[]): string | undefined {
  if (names.includes(INDEX_FILE)) return INDEX_FILE;
  const indexes = names.filter((name) => name.endsWith(INDEX_SUFFIX));
  if (indexes.length > 1) {
    throw new CheckpointError(
      `${where} holds several indexes: ${indexes.join(', ')}. Keep one, named ${INDEX_FILE}.`,
    );
  }
  return indexes[0];
}

/** Files that can be the whole model when there is neither `model.safetensors` nor an index. */
export function pickSingle(names: readonly string[]): string[] {
  return names.filter((name) => name.endsWith('.safetensors') && !NOT_THE_MODEL.test(name));
}

/**
 * Reads an index and checks that it maps tensor names to plain names of safetensors files.
 * @throws CheckpointError
 */
export async function readIndex(path: string): Promise<Map<string, string>> {
  const { weight_map: map } = await readJsonObject(path);
  if (!isJsonObject(map) || Object.keys(map).length === 0) {
    throw new CheckpointError(`${path}: weight_map is missing, empty or not an object`);
  }
  for (const [tensor, file] of Object.entries(map)) {
    // Only names inside the folder: an index from elsewhere must not reach other files.
    if (typeof file !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(file)) {
      const found = JSON.stringify(file);
      throw new CheckpointError(
        `${path}: tensor ${JSON.stringify(tensor)} is mapped to ${found}, which is not the name ` +
          'of a safetensors file beside the index',
      );
    }
  }
  return new Map(Object.entries(map as Record<string, string>));
}

async function openSingle(path: string): Promise<Weights> {
  const file = await openSafetensors(path);
  return { files: [file], tensors: file.tensors };
}

async function openSharded(folder: string, index: string, names: string[]): Promise<Weights> {
  const path = join(folder, index);
  const map = await readIndex(path);
  const shards = [...new Set(map.values())].sort();
  const missing = shards.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    throw new CheckpointError(
      `${folder} lacks ${missing.length} of the ${shards.length} files that ${index} names: ` +
        `${missing.slice(0, 5).join(', ')}. Fetch them again.`,
    );
  }
  const files = new Map<string, SafetensorsFile>();
  for (let i = 0; i < shards.length; i += CONCURRENCY) {
    const some = shards.slice(i, i + CONCURRENCY);
    const opened = await Promise.all(some.map((name) => openSafetensors(join(folder, name))));
    for (const file of opened) files.set(basename(file.path), file);
  }
  const tensors = new Map<string, TensorInfo>();
  for (const [tensor, name] of map) {
    const info = files.get(name)?.tensors.get(tensor);
    if (!info) {
      throw new CheckpointError(
        `${path}: tensor ${JSON.stringify(tensor)} is not in ${name}, where the index puts it. ` +
          'The files are of different saves: fetch or export them again.',
      );
    }
    tensors.set(tensor, info);
  }
  return { files: [...files.values()], tensors };
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    const { message } = cause as Error;
    throw new CheckpointError(`${folder} cannot be read as a folder: ${message}`, { cause });
  }
}
