// Tokenizers saved as vocab.json and merges.txt only (GPT-2 and OPT repositories): byte-level BPE,
// put into the form of a tokenizer.json. Same choices as transformers' converter for GPT-2.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../../errors';
import type { JsonObject } from '../json';
import { readJsonObject } from '../json';

export const VOCAB_FILE = 'vocab.json';
export const MERGES_FILE = 'merges.txt';
export const ADDED_FILE = 'added_tokens.json';

export const GPT2_CLASSES = ['GPT2Tokenizer', 'GPT2TokenizerFast'];

export interface Gpt2Options {
  addPrefixSpace: boolean;
  /** Put in front of every text, when the tokenizer does that. */
  bosToken?: string;
  /** Tokens with a role (end of text, padding, ...); never split, and skipped when decoding. */
  specialTokens: readonly string[];
}

/**
 * Reads vocab.json, merges.txt and, if `names` has it, added_tokens.json.
 * @param names files of the folder
 * @returns the contents of an equivalent tokenizer.json
 */
export async function readGpt2Files(
  folder: string,
  names: readonly string[],
  { addPrefixSpace, bosToken, specialTokens }: Gpt2Options,
): Promise<JsonObject> {
  const vocab = await readIds(join(folder, VOCAB_FILE));
  const added = names.includes(ADDED_FILE) ? await readIds(join(folder, ADDED_FILE)) : new Map();
  const idOf = (token: string): number | undefined => added.get(token) ?? vocab.get(token);

  const special = specialTokens.filter((token) => idOf(token) !== undefined);
  const addedTokens = [...new Set([...special, ...added.keys()])].map((content) => ({
    id: idOf(content) as number,
    content,
    special: special.includes(content),
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }));
  const bosId = bosToken === undefined ? undefined : idOf(bosToken);
  return {
    added_tokens: addedTokens.sort((a, b) => a.id - b.id),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: addPrefixSpace, use_regex: true },
    post_processor:
      bosToken === undefined || bosId === undefined ? null : prependToken(bosToken, bosId),
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(vocab),
      merges: await readMerges(join(folder, MERGES_FILE)),
    },
  };
}

function prependToken(token: string, id: number): JsonObject {
  const first = { SpecialToken: { id: token, type_id: 0 } };
  const a = { Sequence: { id: 'A', type_id: 0 } };
  const b = { Sequence: { id: 'B', type_id: 0 } };
  return {
    type: 'TemplateProcessing',
    single: [first, a],
    pair: [first, a, b],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

async function readIds(path: string): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  for (const [token, id] of Object.entries(await readJsonObject(path))) {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > 2 ** 24) {
      throw new CheckpointError(`${path}: the id of ${JSON.stringify(token)} is not a token id`);
    }
    ids.set(token, id as number);
  }
  return ids;
}

async function readMerges(path: string): Promise<string[]> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  if (lines[0]?.startsWith('#version')) lines.shift();
  const merges = lines.map((line) => line.trimEnd()).filter((line) => line !== '');
  const bad = merges.find((line) => line.split(' ').length !== 2);
  if (bad !== undefined) {
    throw new CheckpointError(`${path}: ${JSON.stringify(bad)} is not a pair of tokens`);
  }
  return merges;
}
