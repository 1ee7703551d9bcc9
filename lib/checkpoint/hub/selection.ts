// Which files of a repository are fetched, and whether a folder already holds them.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../../errors';
import { refuseForeignWeights } from '../foreign-weights';
import { GPT2_FILES, TOKENIZER_FILE, TOKENIZER_FILES } from '../tokenizer/files';
import { pickIndex, pickSingle, readIndex, WEIGHTS_FILE } from '../weights';
import { exists } from './repo-cache';

/** What a caller needs of a repository. */
export type Purpose = 'model' | 'tokenizer';

const SMALL_FILES = /\.(json|jinja)$|^(merges\.txt|tokenizer\.model|fewbit_.*\.safetensors)$/;
const INDEX = /\.index\.json$/;

/** Files of the purpose other than weights, by name among the files of a repository. */
export function pickSmallFiles(names: readonly string[], purpose: Purpose): string[] {
  if (purpose === 'tokenizer') return names.filter((name) => TOKENIZER_FILES.includes(name));
  return names.filter((name) => SMALL_FILES.test(name) && !INDEX.test(name));
}

/**
 * The weight files of a repository without an index.
 * @throws CheckpointError when there are no safetensors (with advice), or several without an index
 */
export function pickWeights(names: readonly string[], where: string): string[] {
  if (names.includes(WEIGHTS_FILE)) return [WEIGHTS_FILE];
  const candidates = pickSingle(names);
  if (candidates.length === 1) return candidates;
  if (candidates.length === 0) refuseForeignWeights(names, where);
  const found = candidates.length > 0 ? `several (${candidates.join(', ')})` : 'none';
  throw new CheckpointError(`${where}: one model in safetensors files is needed, found ${found}.`);
}

/** The index that says which weight files there are; undefined for an unsharded model. */
export function pickWeightIndex(names: readonly string[], where: string): string | undefined {
  return names.includes(WEIGHTS_FILE) ? undefined : pickIndex(where, names);
}

/** True when a snapshot folder holds all that the purpose needs. */
export async function isComplete(folder: string, purpose: Purpose): Promise<boolean> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch {
    return false;
  }
  const has = async (files: readonly string[]): Promise<boolean> => {
    const found = await Promise.all(files.map((name) => exists(join(folder, name))));
    return found.every(Boolean);
  };
  if (purpose === 'tokenizer') return (await has([TOKENIZER_FILE])) || has(GPT2_FILES);
  if (!(await has(['config.json']))) return false;
  if (names.includes(WEIGHTS_FILE)) return has([WEIGHTS_FILE]);
  const index = pickIndex(folder, names);
  if (index) {
    return (
      (await has([index])) && has([...new Set((await readIndex(join(folder, index))).values())])
    );
  }
  const single = pickSingle(names);
  return single.length === 1 && has(single);
}
