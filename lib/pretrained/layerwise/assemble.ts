import { createReadStream } from 'node:fs';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from '../../checkpoint/checkpoint';
import { removeOtherWeights, writeWeights } from '../../checkpoint/checkpoint-writer';
import type { TensorSource } from '../../checkpoint/safetensors-writer';
import type { TensorInfo } from '../../checkpoint/tensor-info';
import { copyOthers, replaceFile } from '../save';
import type { Plan } from './plan';
import type { OnLayerwiseProgress } from './progress';
import type { Recipe } from './recipe';
import type { FinishedStage } from './work-folder';

const WEIGHT = '.weight';
const HEAD = 'lm_head';
/** Prefix that models saved without their head lack. */
const BASE_PREFIX = 'model.';
const CHUNK_BYTES = 4 * 2 ** 20;

export interface AssembleOptions {
  recipe: Recipe;
  maxShardBytes?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: OnLayerwiseProgress | undefined;
}

const CONFIG = 'config.json';

/**
 * Puts together the whole quantized model: the original's tensors as they are, with those that the
 * stages wrote in the place of each quantized weight; config.json and what the recipe adds to it; the
 * tokenizer's files.
 * @param folder where there is nothing yet
 */
export async function assemble(
  folder: string,
  checkpoint: Checkpoint,
  plan: Plan,
  stages: readonly FinishedStage[],
  { recipe, maxShardBytes, signal, onProgress }: AssembleOptions,
): Promise<void> {
  const names = plan.stages.flatMap(({ targets }) => [...targets.keys()]);
  const tensors = finalTensors(checkpoint, names, stages);
  const total = tensors.reduce((sum, { info }) => sum + info.byteLength, 0);
  let loaded = 0;
  const sources = tensors.map(({ name, info }): TensorSource => {
    const { dtype, shape } = info;
    return { name, dtype, shape, data: () => bytesOf(info) };
  });
  async function* bytesOf({ file, offset, byteLength }: TensorInfo): AsyncGenerator<Uint8Array> {
    if (byteLength === 0) return;
    const end = offset + byteLength - 1;
    const stream = createReadStream(file, { start: offset, end, highWaterMark: CHUNK_BYTES });
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      signal?.throwIfAborted();
      loaded += chunk.byteLength;
      onProgress?.({ phase: 'save', loaded, total });
      yield chunk;
    }
  }
  await writeWeights(folder, sources, maxShardBytes === undefined ? {} : { maxShardBytes });
  await copyOthers(checkpoint.folder, folder);
  for (const [name, content] of Object.entries(recipe.files(plan))) {
    await replaceFile(join(folder, name), content);
  }
  const { quantization_config: _, ...raw } = checkpoint.rawConfig;
  // A tied head that was quantized is a tensor of its own now.
  const tie = names.includes(HEAD) ? { tie_word_embeddings: false } : {};
  const config = { ...raw, ...tie, quantization_config: plan.diskConfig };
  await replaceFile(join(folder, CONFIG), config);
}

/** Moves an assembled model to its place, config.json last: without it, there is no model. */
export async function moveModel(from: string, to: string): Promise<void> {
  await rm(join(to, CONFIG), { force: true });
  const names = (await readdir(from)).filter((name) => name !== CONFIG);
  for (const name of [...names, CONFIG]) await rename(join(from, name), join(to, name));
  await removeOtherWeights(to, names);
}

/**
 * All tensors of the result: what the stages wrote in the place of each quantized weight, and what
 * else they wrote at the end.
 */
function finalTensors(
  checkpoint: Checkpoint,
  names: readonly string[],
  stages: readonly FinishedStage[],
): { name: string; info: TensorInfo }[] {
  const written = stages.flatMap(({ file }) => [...file.tensors.values()]);
  const replaced = new Set(written.map(({ name }) => name));
  const byLayer = new Map<string, TensorInfo[]>();
  for (const info of written) {
    const layer = info.name.slice(0, info.name.lastIndexOf('.'));
    byLayer.set(layer, [...(byLayer.get(layer) ?? []), info]);
  }
  const isBase = names.some((name) => isWithoutPrefix(checkpoint, name));
  const result: { name: string; info: TensorInfo }[] = [];
  for (const info of checkpoint.tensors.values()) {
    const name = isBase && !info.name.startsWith(HEAD) ? BASE_PREFIX + info.name : info.name;
    const layer = name.endsWith(WEIGHT) ? name.slice(0, -WEIGHT.length) : '';
    const parts = byLayer.get(layer);
    byLayer.delete(layer);
    if (parts) result.push(...parts.map((part) => ({ name: part.name, info: part })));
    else if (!replaced.has(name)) result.push({ name, info });
  }
  // A tied head has no weight of its own to stand in the place of, and grids of a cache neither.
  for (const info of [...byLayer.values()].flat()) result.push({ name: info.name, info });
  return result;
}

function isWithoutPrefix({ tensors }: Checkpoint, name: string): boolean {
  const weight = name + WEIGHT;
  return !tensors.has(weight) && tensors.has(weight.slice(BASE_PREFIX.length));
}
