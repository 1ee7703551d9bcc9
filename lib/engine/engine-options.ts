import { OptionsError } from '../errors';
import { type CacheGrids, type CacheShape, type CausalLM, floatCache } from '../nn/causal-lm';
import { KV_BITS, type KvBits, QUERY_BITS, type QueryBits } from '../ops';
import { tokenIds, wholeNumber } from './checks';
import { pageBytes } from './kv-cache';

/** Static scales and zero points for a cache of few bits, by layer and channel. */
export interface KvGrids {
  readonly bits: KvBits;
  /** f32[2, kvHeads * headDim] each: scales, then zero points of unsigned codes. */
  readonly layers: readonly CacheGrids[];
  /** Bits that queries are rounded to, in layers with a grid for them. */
  readonly queryBits?: QueryBits;
  /** Tokens of the longest window that they were calibrated with; beyond it, there is a warning. */
  readonly calibratedLength?: number;
}

/** Sizes of an engine. All memory of the cache is taken when the engine is made. */
export interface EngineOptions {
  /** Most sequences that are decoded together; default 16. Further requests wait. */
  maxBatch?: number;
  /** Most tokens of one sequence; default 4096, or the model's limit if that is lower. */
  maxContext?: number;
  /** Tokens of one cache page; default 64. */
  pageSize?: number;
  /**
   * Pages of the cache. Default: as many as `maxBatch` sequences of `maxContext` tokens fill, within
   * a quarter of the device's free memory, and at least what one such sequence fills. When requests
   * outgrow the cache, the newest waits and is recomputed later.
   */
  pages?: number;
  /** Memory of the cache in bytes, instead of `pages`. */
  kvBytes?: number;
  /**
   * Bits of a cached key or value. 16 stands for the dtype of hidden states; 8, 4 or 3 keep codes,
   * with a scale for every token and head, or those of `kvGrids`, or of the checkpoint if it has grids
   * of so many bits. Default: what the checkpoint has grids for, else 16.
   */
  kvBits?: 16 | 8 | 4 | 3;
  /** Fixed scales by channel, from `calibrateKvCache`; they also say the bits. */
  kvGrids?: KvGrids;
  /** Most prompt tokens that go through the model at once, a power of two; default 512. */
  maxChunk?: number;
  /**
   * Whether the next decode step starts before the tokens of the last one are read; default: on
   * CUDA only. The end of a sequence then costs one wasted step, and the device never waits.
   */
  lookahead?: boolean;
  /** Tokens that end a text, from the model's generation config; default none. */
  eosTokenIds?: readonly number[];
}

/** `EngineOptions` after validation, with every default filled in. */
export interface EngineSizes {
  readonly maxBatch: number;
  readonly maxContext: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly cacheShape: CacheShape;
  readonly maxChunk: number;
  readonly lookahead: boolean;
  readonly eosTokenIds: readonly number[];
}

export const MIN_CHUNK = 16;

/** @throws OptionsError naming the option, its value and what is allowed */
export function engineSizes(model: CausalLM, options: EngineOptions): EngineSizes {
  const { vocabSize, maxPositions } = model;
  const maxBatch = wholeNumber('maxBatch', options.maxBatch ?? 16, 1, 4096);
  const maxContext = wholeNumber(
    'maxContext',
    options.maxContext ?? Math.min(maxPositions, 4096),
    1,
    maxPositions,
  );
  const pageSize = wholeNumber('pageSize', options.pageSize ?? 64, 1, 4096);
  const maxChunk = wholeNumber('maxChunk', options.maxChunk ?? 512, MIN_CHUNK, 65536);
  if (!Number.isInteger(Math.log2(maxChunk))) {
    throw new OptionsError(`maxChunk must be a power of two, got ${maxChunk}`);
  }
  const cacheShape = cacheShapeOf(model, options);
  return {
    maxBatch,
    maxContext,
    pageSize,
    maxChunk,
    cacheShape,
    pages: cachePages(model, cacheShape, options, { maxBatch, maxContext, pageSize }),
    lookahead: options.lookahead ?? model.device.type === 'cuda',
    eosTokenIds: tokenIds('eosTokenIds', options.eosTokenIds ?? [], vocabSize),
  };
}

function cacheShapeOf(model: CausalLM, { kvBits, kvGrids }: EngineOptions): CacheShape {
  const { cacheShape } = model;
  const shape = floatCache(cacheShape);
  if (kvGrids) return withGrids(shape, kvGrids, kvBits);
  // What the checkpoint says, unless other bits are asked for.
  if (kvBits === undefined || kvBits === cacheShape.bits) return cacheShape;
  if (kvBits === 16) return shape;
  if (KV_BITS.includes(kvBits)) return { ...shape, bits: kvBits };
  throw new OptionsError(`kvBits must be 16, 8, 4 or 3, got ${kvBits}`);
}

function withGrids(
  shape: CacheShape,
  { bits, layers, queryBits, calibratedLength }: KvGrids,
  kvBits: EngineOptions['kvBits'] = bits,
): CacheShape {
  if (kvBits !== bits) {
    throw new OptionsError(`kvBits is ${kvBits}, but kvGrids were made for ${bits} bits`);
  }
  const size = 2 * shape.kvHeads * shape.headDim;
  const feedback = shape.kvHeads * shape.headDim ** 2;
  const fits = layers.every(
    ({ key, value, keyFeedback }) =>
      key.length === size &&
      value.length === size &&
      (keyFeedback === undefined || keyFeedback.length === feedback),
  );
  if (layers.length !== shape.layers || !fits) {
    throw new OptionsError(
      `kvGrids are of another model: this one has ${shape.layers} layers of ${size} values each`,
    );
  }
  const length = calibratedLength === undefined ? {} : { calibratedLength };
  const coded = { ...shape, bits, grids: layers, ...length };
  if (queryBits === undefined) return coded;
  if (!QUERY_BITS.includes(queryBits)) {
    throw new OptionsError(`queryBits must be 8 or 4, got ${queryBits}`);
  }
  return { ...coded, queryBits };
}

function cachePages(
  model: CausalLM,
  cacheShape: CacheShape,
  options: EngineOptions,
  { maxBatch, maxContext, pageSize }: { maxBatch: number; maxContext: number; pageSize: number },
): number {
  const bytes = pageBytes(cacheShape, pageSize);
  if (options.pages !== undefined && options.kvBytes !== undefined) {
    throw new OptionsError('pages and kvBytes say the same thing: give one of them');
  }
  if (options.pages !== undefined) return wholeNumber('pages', options.pages, 1, 2 ** 31 - 1);
  if (options.kvBytes !== undefined) {
    const kvBytes = wholeNumber('kvBytes', options.kvBytes, 0, Number.MAX_SAFE_INTEGER);
    if (kvBytes < bytes) {
      throw new OptionsError(
        `kvBytes is ${kvBytes}, less than one page of ${pageSize} tokens (${bytes} bytes)`,
      );
    }
    return Math.floor(kvBytes / bytes);
  }
  const perSequence = Math.ceil(maxContext / pageSize);
  const affordable = Math.floor(model.device.memory().free / 4 / bytes);
  return Math.max(perSequence, Math.min(perSequence * maxBatch, affordable));
}
