import type { Device } from '../device';
import type { DType } from '../native';
import type { KvBits, LayerCache, QueryBits } from '../ops';
import type { Tensor } from '../tensor';

/**
 * The rows that go through a model together: tokens of one or more sequences. Padding rows carry
 * id -1, position -1 and slot -1; attention and cache writes ignore them.
 */
export interface ForwardBatch {
  /** i32[T] token ids. */
  ids: Tensor;
  /** i32[T] place of each token in its own sequence, from 0. */
  positions: Tensor;
  /** i32[T] where the token's key and value go: page * pageSize + offset. */
  slots: Tensor;
  /** i32[T] which row of the block table belongs to the token's sequence. */
  sequences: Tensor;
  /** i32[S, P] pages of each sequence in order, -1 where there is none. */
  blockTable: Tensor;
  cache: LayerCache[];
  /** Whether no two rows belong to the same sequence. */
  decode: boolean;
}

/** What the paged cache of a model looks like. */
export interface CacheShape {
  layers: number;
  kvHeads: number;
  headDim: number;
  /** Of hidden states, and of keys and values unless they are codes. */
  dtype: DType;
  /** Keys and values as codes of so many bits. */
  bits?: KvBits;
  /**
   * What the codes stand for, by layer: f32[2, kvHeads * headDim] scales and zero points. Without
   * grids, every token and head has a scale of its own.
   */
  grids?: readonly CacheGrids[];
  /** Bits of the codes of queries, where grids have them. */
  queryBits?: QueryBits;
  /** Tokens of the longest window that the grids were calibrated with, if that is known. */
  calibratedLength?: number;
}

/** A layer's scales and zero points by channel. */
export interface CacheGrids {
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** f32[kvHeads, headDim, headDim], of `keyFeedback`: how errors of keys make up for each other. */
  readonly keyFeedback?: Float32Array;
  /** f32[2, heads * headDim]: queries are rounded to codes of `queryBits` bits as they are read. */
  readonly query?: Float32Array;
}

/** The same cache with keys and values as they come. */
export function floatCache({ layers, kvHeads, headDim, dtype }: CacheShape): CacheShape {
  return { layers, kvHeads, headDim, dtype };
}

/** A decoder with a language-model head, whatever its architecture and the method of its layers. */
export interface CausalLM {
  readonly device: Device;
  readonly vocabSize: number;
  /** Longest sequence that the model (its position table, or `maxContext`) allows. */
  readonly maxPositions: number;
  readonly cacheShape: CacheShape;
  /** Runs (or records) all layers and the final norm. Returns hidden states float[T, D]. */
  forward(batch: ForwardBatch): Tensor;
  /** Runs (or records) the head. hidden float[R, D] to logits f32[R, vocabSize]. */
  logits(hidden: Tensor): Tensor;
}
