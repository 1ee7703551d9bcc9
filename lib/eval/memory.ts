import { pageBytes } from '../engine';
import type { Transformer } from '../models/transformer';
import { INT8_ALIGNMENT } from '../ops';
import { sizeOf } from '../tensor';

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

/** What the engine does by default (`EngineOptions`). */
const PAGE_SIZE = 64;
const MAX_CHUNK = 512;
/** A chunk of prompts has at most this many rows for each one that the head sees. */
const ROWS_PER_SEQUENCE = 8;

/**
 * What a model will take, before anything is loaded. Weights and cache are exact, but for the
 * columns that LLM.int8() finds worth keeping in 16 bits (at most 2% of a layer).
 */
export function memoryNeeds(
  transformer: Transformer,
  { batch, context }: { batch: number; context: number },
): MemoryNeeds {
  const { cacheShape } = transformer;
  const pages = batch * Math.ceil(context / PAGE_SIZE);
  const weights = transformer.bytes + rotaryBytes(transformer, context);
  const kvCache = pages * pageBytes(cacheShape, PAGE_SIZE);
  const activations = activationBytes(transformer, batch, context);
  return { weights, kvCache, activations, total: weights + kvCache + activations };
}

function rotaryBytes({ config, cacheShape }: Transformer, context: number): number {
  return 'rope' in config ? context * cacheShape.headDim * sizeOf('f32') : 0;
}

/**
 * The largest set of tensors that live at once: the residual stream, and the input and output of
 * the widest block. Rows of a chunk count, and logits of the sequences in it.
 */
function activationBytes(transformer: Transformer, batch: number, context: number): number {
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
  // The input of an int8 layer is there twice, once as codes.
  const codes = Math.ceil(inner / INT8_ALIGNMENT) * INT8_ALIGNMENT;
  const quantized = transformer.modules.some(
    ({ method }) => method === 'llm.int8' || method === 'bitnet',
  )
    ? codes
    : 0;
  const logits = Math.max(batch, rows / ROWS_PER_SEQUENCE) * vocabSize * sizeOf('f32');
  return rows * (perRow * sizeOf(cacheShape.dtype) + quantized) + logits;
}
