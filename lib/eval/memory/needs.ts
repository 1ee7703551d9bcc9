import { gridBytes, pageBytes } from '../../engine';
import type { Transformer } from '../../models/transformer';
import type { CacheShape } from '../../nn/causal-lm';
import type { Module } from '../../nn/module';
import { INT8_ALIGNMENT, type KvBits, type QueryBits } from '../../ops';
import { LinearRptq } from '../../quant/rptq';
import { sizeOf } from '../../tensor';

/** Bytes that a model needs on its device. */
export interface MemoryNeeds {
  /** Weights and tables as they are held. */
  weights: number;
  /** Keys and values of `batch` sequences of `context` tokens. */
  kvCache: number;
  /** Hidden states and logits of one step: an estimate. */
  activations: number;
  total: number;
}

/** A cache of few bits. */
export interface CachePlan {
  readonly bits: KvBits;
  /** Whether scales are fixed by channel (`kvGrids`); else each token and head has its own. */
  readonly fixed: boolean;
  readonly queryBits?: QueryBits | undefined;
}

export interface MemorySizes {
  batch: number;
  context: number;
  /** Default: what the model's checkpoint has, else the dtype of hidden states. */
  cache?: CachePlan | undefined;
  /** Of hidden states; default: what the device at hand has. */
  dtype?: CacheShape['dtype'] | undefined;
}

/** What the engine does by default (`EngineOptions`). */
const PAGE_SIZE = 64;
const MAX_CHUNK = 512;
/** A chunk of prompts has at most this many rows for each one that the head sees. */
const ROWS_PER_SEQUENCE = 8;

/**
 * What a model will take, before anything is loaded. Weights and cache are exact, but for the
 * columns that LLM.int8() finds worth keeping in 16 bits (at most 2% of a layer).
 */
export function memoryNeeds(transformer: Transformer, sizes: MemorySizes): MemoryNeeds {
  const { batch, context } = sizes;
  const shape = plannedCache(transformer, sizes);
  const pages = batch * Math.ceil(context / PAGE_SIZE);
  const weights = transformer.bytes + rotaryBytes(transformer, context);
  const kvCache = pages * pageBytes(shape, PAGE_SIZE) + gridsOf(transformer, shape);
  const activations = activationBytes(transformer, shape.dtype, batch, context);
  return { weights, kvCache, activations, total: weights + kvCache + activations };
}

function plannedCache(
  { cacheShape }: Transformer,
  { cache, dtype = cacheShape.dtype }: MemorySizes,
): CacheShape {
  if (!cache) return { ...cacheShape, dtype };
  const { layers, kvHeads, headDim } = cacheShape;
  const { bits, fixed, queryBits } = cache;
  return {
    ...{ layers, kvHeads, headDim, dtype, bits },
    ...(fixed ? { grids: [] } : {}),
    ...(queryBits ? { queryBits } : {}),
  };
}

/** What a fixed cache has besides codes. */
function gridsOf({ config }: Transformer, shape: CacheShape): number {
  return shape.grids ? gridBytes(shape, config.numAttentionHeads) : 0;
}

function rotaryBytes({ config, cacheShape }: Transformer, context: number): number {
  return 'rope' in config ? context * cacheShape.headDim * sizeOf('f32') : 0;
}

/**
 * The largest set of tensors that live at once: the residual stream, and the input and output of
 * the widest block. Rows of a chunk count, and logits of the sequences in it.
 */
function activationBytes(
  transformer: Transformer,
  dtype: CacheShape['dtype'],
  batch: number,
  context: number,
): number {
  const { config, cacheShape, vocabSize } = transformer;
  const { hiddenSize, numAttentionHeads } = config;
  const queries = numAttentionHeads * cacheShape.headDim;
  const keys = cacheShape.kvHeads * cacheShape.headDim;
  const attention = 2 * queries + 2 * keys;
  const gated = 'intermediateSize' in config;
  const inner = gated ? config.intermediateSize : config.ffnDim;
  const feedForward = gated ? 3 * inner : hiddenSize + inner;
  const perRow = hiddenSize + Math.max(attention, feedForward);
  const rows = Math.min(MAX_CHUNK, 2 ** Math.ceil(Math.log2(batch * context)));
  // The input of a layer on codes is there twice, once as codes.
  const codes = Math.ceil(inner / INT8_ALIGNMENT) * INT8_ALIGNMENT;
  const quantized = transformer.modules.some(readsCodes) ? codes : 0;
  const logits = Math.max(batch, rows / ROWS_PER_SEQUENCE) * vocabSize * sizeOf('f32');
  return rows * (perRow * sizeOf(dtype) + quantized) + logits;
}

function readsCodes(module: Module): boolean {
  if (module instanceof LinearRptq) return module.layers.some(({ inputBits }) => inputBits < 16);
  return module.method === 'llm.int8' || module.method === 'bitnet';
}
