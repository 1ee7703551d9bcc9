// Reads the files of a tokenizer: tokenizer.json (or what it can be made from),
// tokenizer_config.json, special_tokens_map.json and the chat templates.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../../errors';
import type { JsonObject } from '../json';
import { isJsonObject, readJsonObject } from '../json';
import { ADDED_FILE, GPT2_CLASSES, MERGES_FILE, readGpt2Files, VOCAB_FILE } from './gpt2-files';

export const TOKENIZER_FILE = 'tokenizer.json';
const CONFIG_FILE = 'tokenizer_config.json';
const SPECIAL_FILE = 'special_tokens_map.json';
const TEMPLATE_FILE = 'chat_template.jinja';
const TEMPLATE_JSON_FILE = 'chat_template.json';

/** A tokenizer's files when there is no tokenizer.json. */
export const GPT2_FILES: readonly string[] = [VOCAB_FILE, MERGES_FILE];

/** Every file that a tokenizer may be read from. */
export const TOKENIZER_FILES: readonly string[] = [
  TOKENIZER_FILE,
  CONFIG_FILE,
  SPECIAL_FILE,
  TEMPLATE_FILE,
  TEMPLATE_JSON_FILE,
  ADDED_FILE,
  ...GPT2_FILES,
];

/** Roles of special tokens, as the keys of the files name them. */
const ROLES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

export type SpecialTokenRole = (typeof ROLES)[number];

export interface TokenizerFiles {
  /** Contents of tokenizer.json. */
  readonly tokenizer: JsonObject;
  /** Contents of tokenizer_config.json, special tokens as plain strings. */
  readonly config: JsonObject;
  readonly specialTokens: Partial<Record<SpecialTokenRole, string>>;
  /** Jinja texts by name. */
  readonly chatTemplates: ReadonlyMap<string, string>;
}

/** @throws CheckpointError when the folder holds no tokenizer that can be read, with advice */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const names = await readdir(folder);
  const optional = async (name: string): Promise<JsonObject> =>
    names.includes(name) ? readJsonObject(join(folder, name)) : {};

  const onDisk = await optional(CONFIG_FILE);
  const specialTokens = specialTokensOf(await optional(SPECIAL_FILE), onDisk);
  const config = { ...onDisk, ...specialTokens };
  return {
    tokenizer: await readTokenizer(folder, names, config, specialTokens),
    config,
    specialTokens,
    chatTemplates: await readChatTemplates(folder, names, onDisk.chat_template),
  };
}

async function readTokenizer(
  folder: string,
  names: readonly string[],
  config: JsonObject,
  specialTokens: TokenizerFiles['specialTokens'],
): Promise<JsonObject> {
  if (names.includes(TOKENIZER_FILE)) return readJsonObject(join(folder, TOKENIZER_FILE));

  const hasGpt2Files = GPT2_FILES.every((name) => names.includes(name));
  if (hasGpt2Files && GPT2_CLASSES.includes(String(config.tokenizer_class ?? GPT2_CLASSES[0]))) {
    return readGpt2Files(folder, names, {
      addPrefixSpace: config.add_prefix_space === true,
      bosToken: config.add_bos_token === true ? specialTokens.bos_token : undefined,
      specialTokens: Object.values(specialTokens),
    });
  }
  const other = names.filter((name) =>
    /^(tokenizer\.model|spiece\.model|vocab\.|.*\.tiktoken$)/.test(name),
  );
  const found = other.length > 0 ? `only ${other.join(', ')}` : 'no tokenizer files';
  throw new CheckpointError(
    `${folder} holds ${found}; ${TOKENIZER_FILE} is needed. Make it once in Python with ` +
      'AutoTokenizer.from_pretrained(folder).save_pretrained(folder), or copy it from a newer ' +
      'repository of the model.',
  );
}

/** A special token is written as a string or as an object with its `content`. */
function specialTokensOf(...sources: JsonObject[]): TokenizerFiles['specialTokens'] {
  const found: TokenizerFiles['specialTokens'] = {};
  for (const source of sources) {
    for (const role of ROLES) {
      const value = source[role];
      const content = isJsonObject(value) ? value.content : value;
      if (typeof content === 'string') found[role] = content;
    }
  }
  return found;
}

/** A template of its own file wins over one in tokenizer_config.json, as in transformers. */
async function readChatTemplates(
  folder: string,
  names: readonly string[],
  inConfig: unknown,
): Promise<Map<string, string>> {
  const templates = new Map<string, string>();
  const add = (value: unknown): void => {
    if (typeof value === 'string') templates.set('default', value);
    else if (Array.isArray(value)) for (const entry of value) addNamed(entry);
    else if (isJsonObject(value))
      for (const [name, template] of Object.entries(value)) addNamed({ name, template });
  };
  const addNamed = (entry: unknown): void => {
    if (
      isJsonObject(entry) &&
      typeof entry.name === 'string' &&
      typeof entry.template === 'string'
    ) {
      templates.set(entry.name, entry.template);
    }
  };
  add(inConfig);
  if (names.includes(TEMPLATE_JSON_FILE)) {
    add((await readJsonObject(join(folder, TEMPLATE_JSON_FILE))).chat_template);
  }
  if (names.includes(TEMPLATE_FILE)) add(await readFile(join(folder, TEMPLATE_FILE), 'utf8'));
  return templates;
}
