import type { Tensor } from '../tensor';

/** One layer's paged cache: float[pages, kvHeads, pageSize, headDim] each. */
export interface LayerCache {
  key: Tensor;
  value: Tensor;
}

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
  where: { positions: Tensor; slots: Tensor; rope?: Tensor | undefined; cache: LayerCache },
): void {
  const { positions, slots, rope, cache } = where;
  q.device.run('cache_append', [q, k, v, positions, slots, rope, cache.key, cache.value]);
}

/**
 * Causal attention over the paged cache. `decode` promises at most one row a sequence.
 * @param q float[T, heads * headDim] @param where blockTable i32[S, P], sequences i32[T] (which row
 * of the block table), positions i32[T] (-1: padding) @returns float[T, heads * headDim]
 */
export function attention(
  q: Tensor,
  where: {
    cache: LayerCache;
    blockTable: Tensor;
    sequences: Tensor;
    positions: Tensor;
    scale: number;
    decode: boolean;
  },
): Tensor {
  const { cache, blockTable, sequences, positions } = where;
  const out = q.device.empty(q.dtype, [...q.shape]);
  q.device.run(
    'attention',
    [q, cache.key, cache.value, blockTable, sequences, positions, out],
    [where.scale, where.decode ? 1 : 0],
  );
  return out;
}
