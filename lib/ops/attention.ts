import type { Tensor } from '../tensor';
import { attendQuantized, type CodedLayerCache } from './attention-quantized';

/** One layer's paged cache: float[pages, kvHeads, pageSize, headDim] each. */
export interface FloatLayerCache {
  key: Tensor;
  value: Tensor;
}

export type LayerCache = FloatLayerCache | CodedLayerCache;

/**
 * Rotates q in place and k on the way (when `rope` is given), and writes k and v to the cache.
 * @param q float[T, heads * headDim] @param k float[T, kvHeads * headDim] @param v like k
 * @param positions i32[T] @param slots i32[T], page * pageSize + offset, or -1 for padding
 * @param rope f32[P, headDim], cosines then sines
 */
export function cacheAppend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  where: { positions: Tensor; slots: Tensor; rope?: Tensor | undefined; cache: FloatLayerCache },
): void {
  const { positions, slots, rope, cache } = where;
  q.device.run('cache_append', [q, k, v, positions, slots, rope, cache.key, cache.value]);
}

/**
 * Causal attention over the paged cache.
 * @param q float[T, heads * headDim] @param where blockTable i32[S, P], sequences i32[T] (which row
 * of the block table), positions i32[T] (-1: padding) @returns float[T, heads * headDim]
 */
export function attention(
  q: Tensor,
  where: {
    cache: FloatLayerCache;
    blockTable: Tensor;
    sequences: Tensor;
    positions: Tensor;
    scale: number;
  },
): Tensor {
  const { cache, blockTable, sequences, positions, scale } = where;
  const out = q.device.empty(q.dtype, [...q.shape]);
  q.device.run(
    'attention',
    [q, cache.key, cache.value, blockTable, sequences, positions, out],
    [scale],
  );
  return out;
}

/** Where new keys and values go, and what their queries attend to: see `cacheAppend`, `attention`. */
export interface AttentionInputs {
  cache: FloatLayerCache;
  blockTable: Tensor;
  sequences: Tensor;
  positions: Tensor;
  slots: Tensor;
  rope?: Tensor | undefined;
  scale: number;
  /** Called between the two: q is rotated and may be changed, the cache holds the new keys and values. */
  onAppended?: ((q: Tensor) => void) | undefined;
}

/** `cacheAppend` and `attention` as one op, for at most one row a sequence. q stays as it is. */
export function decodeAttention(q: Tensor, k: Tensor, v: Tensor, where: AttentionInputs): Tensor {
  const { cache, blockTable, sequences, positions, slots, rope, scale } = where;
  const out = q.device.empty(q.dtype, [...q.shape]);
  q.device.run(
    'decode_attention',
    [q, k, v, positions, slots, sequences, blockTable, rope, cache.key, cache.value, out],
    [scale],
  );
  return out;
}

/**
 * The attention of a layer: appends k and v to the cache and lets q attend to it. May overwrite q
 * and k. `decode` promises at most one row a sequence.
 */
export function attend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  where: Omit<AttentionInputs, 'cache'> & { cache: LayerCache; decode: boolean },
): Tensor {
  const { cache } = where;
  if ('bits' in cache) return attendQuantized(q, k, v, cache, where);
  const inputs = { ...where, cache };
  if (where.decode && !where.onAppended) return decodeAttention(q, k, v, inputs);
  cacheAppend(q, k, v, inputs);
  where.onAppended?.(q);
  return attention(q, inputs);
}
