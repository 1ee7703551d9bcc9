// What the configurations of all architectures have in common.
import { z } from 'zod';
import { UnsupportedError } from '../../errors';
import type { JsonObject } from '../json';
import { isJsonObject } from '../json';

/** Parts of every model configuration. */
export interface CommonConfig {
  /** Float type that the weights were saved in; absent when the file does not say. */
  dtype?: 'f32' | 'f16' | 'bf16';
  vocabSize: number;
  hiddenSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  /** Positions the model was trained for. */
  maxPositionEmbeddings: number;
  /** The output projection shares the embedding's weights. */
  tieWordEmbeddings: boolean;
  bosTokenId?: number;
  /** Any of these ends a generation. */
  eosTokenIds: number[];
  padTokenId?: number;
  /** `quantization_config` as it is on disk; present when the weights are quantized. */
  quantization?: JsonObject;
}

/** Sizes beyond this are no model's; it also keeps products of two sizes exact. */
const MAX_SIZE = 2 ** 24;

/** A size or count. */
export const size = z.int().min(1).max(MAX_SIZE);
export const flag = z.boolean();

/** `schema`, with `value` in the place of a missing or null entry, as transformers' classes do. */
export function withDefault<T extends z.ZodType>(schema: T, value: z.output<T>) {
  return schema.nullish().transform((found) => found ?? value);
}

const tokenId = z.int().max(2 ** 31 - 1);
/** Some old files write -1 for "none". */
const toTokenIds = (found: number | number[] | null): number[] =>
  [found ?? []].flat().filter((id) => id >= 0);

/** Token ids: a missing entry takes the architecture's default, null means none. */
function tokenIds(value: number | null) {
  return z
    .union([tokenId, z.array(tokenId), z.null()])
    .optional()
    .transform((found) => toTokenIds(found === undefined ? value : found));
}

const DTYPES = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' } as const;
const dtypeName = z.string().nullish();

export interface CommonDefaults {
  vocabSize: number;
  hiddenSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  maxPositionEmbeddings: number;
  tieWordEmbeddings: boolean;
  bosTokenId: number | null;
  eosTokenId: number | null;
  padTokenId: number | null;
}

/** Schema entries of the common keys, to be spread into an architecture's schema. */
export function commonShape(defaults: CommonDefaults) {
  return {
    torch_dtype: dtypeName,
    dtype: dtypeName,
    vocab_size: withDefault(size, defaults.vocabSize),
    hidden_size: withDefault(size, defaults.hiddenSize),
    num_hidden_layers: withDefault(size, defaults.numHiddenLayers),
    num_attention_heads: withDefault(size, defaults.numAttentionHeads),
    max_position_embeddings: withDefault(size, defaults.maxPositionEmbeddings),
    tie_word_embeddings: withDefault(flag, defaults.tieWordEmbeddings),
    bos_token_id: tokenIds(defaults.bosTokenId),
    eos_token_id: tokenIds(defaults.eosTokenId),
    pad_token_id: tokenIds(defaults.padTokenId),
    quantization_config: z.custom<JsonObject>(isJsonObject, 'expected an object').nullish(),
  };
}

type CommonFields = z.output<z.ZodObject<ReturnType<typeof commonShape>>>;

/** The parsed common keys under their TypeScript names. */
export function commonConfig(fields: CommonFields): CommonConfig {
  return {
    dtype: floatDtype(fields.dtype ?? fields.torch_dtype),
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    numHiddenLayers: fields.num_hidden_layers,
    numAttentionHeads: fields.num_attention_heads,
    maxPositionEmbeddings: fields.max_position_embeddings,
    tieWordEmbeddings: fields.tie_word_embeddings,
    bosTokenId: fields.bos_token_id[0],
    eosTokenIds: fields.eos_token_id,
    padTokenId: fields.pad_token_id[0],
    quantization: fields.quantization_config ?? undefined,
  };
}

/**
 * Refuses a value that the architecture's code does not implement.
 * @throws UnsupportedError naming the key, what was found and what is supported
 */
export function requireOneOf<T extends string>(
  where: string,
  key: string,
  found: string,
  supported: readonly T[],
): T {
  if ((supported as readonly string[]).includes(found)) return found as T;
  throw new UnsupportedError(
    `${where}: ${key} '${found}' is not supported; supported: ${supported.join(', ')}`,
  );
}

/** `float16` or the older `torch.float16`; `auto` says nothing. */
function floatDtype(name: string | null | undefined): CommonConfig['dtype'] {
  const plain = name?.replace(/^torch\./, '');
  if (!plain || plain === 'auto') return undefined;
  const names = Object.keys(DTYPES) as (keyof typeof DTYPES)[];
  return DTYPES[requireOneOf('config.json', 'dtype', plain, names)];
}
