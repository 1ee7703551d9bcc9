import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { OptionsError } from '../errors';
import { writeFully } from './atomic-files';
import type { TensorSource } from './safetensors-writer';
import { DEFAULT_METADATA, safetensorsFile, sourceBytes, writeAll } from './safetensors-writer';
import { INDEX_FILE, WEIGHTS_FILE } from './weights';

export interface WriteWeightsOptions {
  /** Largest file, counting tensors only; a single larger tensor gets a file of its own. */
  maxShardBytes?: number;
  /** Strings to keep in each file's header; default `{ format: 'pt' }`. */
  metadata?: Readonly<Record<string, string>>;
}

const DEFAULT_SHARD_BYTES = 5e9;
/** Names that this module and transformers give to weight files. */
const WEIGHT_FILES = /^model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/;

/**
 * Writes the tensors of a model into a folder the way transformers does: `model.safetensors`, or
 * `model-00001-of-0000N.safetensors` and an index when they exceed `maxShardBytes`. Shards are
 * filled in the order given. Weight files of an earlier save that are not replaced are removed.
 * @returns names of the files written
 * @throws OptionsError, CheckpointError as `writeSafetensors`
 */
export async function writeWeights(
  folder: string,
  tensors: Iterable<TensorSource>,
  options: WriteWeightsOptions = {},
): Promise<string[]> {
  const { maxShardBytes = DEFAULT_SHARD_BYTES, metadata = DEFAULT_METADATA } = options;
  if (!(maxShardBytes > 0)) {
    throw new OptionsError(`maxShardBytes is ${maxShardBytes}: give a number of bytes above 0`);
  }
  const shards = splitIntoShards(tensors, maxShardBytes);
  const files = shards.map((shard, i) =>
    safetensorsFile(join(folder, shardName(i, shards.length)), shard, metadata),
  );
  if (shards.length > 1) {
    const index = Buffer.from(`${JSON.stringify(buildIndex(shards), null, 2)}\n`);
    // Last, so that it never names shards that do not exist yet.
    files.push({ path: join(folder, INDEX_FILE), write: (handle) => writeFully(handle, index) });
  }
  await writeAll(files);
  const names = files.map(({ path }) => basename(path));
  await removeOtherWeights(folder, names);
  return names;
}

function splitIntoShards(tensors: Iterable<TensorSource>, maxBytes: number): TensorSource[][] {
  const shards: TensorSource[][] = [];
  const names = new Set<string>();
  let room = 0;
  for (const tensor of tensors) {
    if (names.has(tensor.name)) throw new OptionsError(`tensor ${tensor.name} is given twice`);
    names.add(tensor.name);
    const bytes = sourceBytes(tensor);
    const last = shards[shards.length - 1];
    if (last && bytes <= room) {
      last.push(tensor);
      room -= bytes;
    } else {
      shards.push([tensor]);
      room = maxBytes - bytes;
    }
  }
  if (shards.length === 0) throw new OptionsError('there are no tensors to write');
  return shards;
}

function shardName(index: number, count: number): string {
  if (count === 1) return WEIGHTS_FILE;
  const digits = (value: number) => String(value).padStart(5, '0');
  return `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

function buildIndex(shards: readonly TensorSource[][]) {
  const places = shards.flatMap((shard, i) =>
    shard.map(({ name }) => [name, shardName(i, shards.length)] as const),
  );
  places.sort(([a], [b]) => (a < b ? -1 : 1));
  const total = shards.flat().reduce((sum, tensor) => sum + sourceBytes(tensor), 0);
  return { metadata: { total_size: total }, weight_map: Object.fromEntries(places) };
}

/**
 * Removes weight files of an earlier save: a leftover `model.safetensors` beside new shards would be
 * loaded in their place.
 */
export async function removeOtherWeights(folder: string, keep: readonly string[]): Promise<void> {
  for (const name of await readdir(folder)) {
    if (WEIGHT_FILES.test(name) && !keep.includes(name)) await rm(join(folder, name));
  }
}
