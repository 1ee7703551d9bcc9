import type { Tensor } from '../tensor';
import type { AttentionInputs } from './attention';
import { keyRound } from './key-round';

/** Widths of the codes that a cache of few bits may have. */
export const KV_BITS = [8, 4, 3] as const;
export type KvBits = (typeof KV_BITS)[number];

/** Widths that queries may be rounded to. */
export const QUERY_BITS = [8, 4] as const;
export type QueryBits = (typeof QUERY_BITS)[number];

/**
 * One layer's paged cache in codes: u8[pages, kvHeads, pageSize, kvRowBytes] each. What they stand
 * for is fixed by channel (grids) or found for every token and head (scales).
 */
export interface CodedLayerCache {
  key: Tensor;
  value: Tensor;
  bits: KvBits;
  headDim: number;
  /** f32[2, kvHeads * headDim]: scales, then zero points. */
  grids?: { key: Tensor; value: Tensor };
  /** f16[kvHeads, headDim, headDim]: keys are rounded by `keyRound`; only with grids. */
  keyFeedback?: Tensor;
  /** Rounds queries onto a grid of their own: f32[2, heads * headDim], and codes of so many bits. */
  query?: { grid: Tensor; bits: QueryBits };
  /** f16[pages, kvHeads, pageSize, 2]: scale and smallest value. */
  scales?: { key: Tensor; value: Tensor };
}

/** Bytes of the codes of one head of one token (src/ops/kv_codes.h). */
export function kvRowBytes(headDim: number, bits: KvBits): number {
  const plane = (width: number): number => 4 * Math.ceil((headDim * width) / 32);
  return bits === 3 ? plane(2) + plane(1) : plane(bits);
}

/** `attend` on a cache of few bits: quantizes k and v into it, and lets q attend to the codes. */
export function attendQuantized(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  cache: CodedLayerCache,
  where: Omit<AttentionInputs, 'cache'> & { decode: boolean },
): Tensor {
  const { blockTable, sequences, positions, slots, scale, decode } = where;
  const { key, value, grids, scales, query, bits, headDim, keyFeedback: feedback } = cache;
  const { device } = q;
  const out = device.empty(q.dtype, [...q.shape]);
  let { rope } = where;
  if (decode && !where.onAppended) {
    const places = [positions, sequences, blockTable, rope];
    const fixed = [query?.grid, grids?.key, grids?.value, feedback];
    device.run(
      'decode_attention_quantized',
      [q, k, v, ...places, ...fixed, key, value, scales?.key, scales?.value, out],
      [bits, scale, query?.bits ?? 0],
    );
    return out;
  }
  if (grids && feedback) {
    keyRound(q, k, { positions, rope, grid: grids.key, feedback, bits });
    rope = undefined;
  }
  const append = [q, k, v, positions, slots, rope, grids?.key, grids?.value, key, value];
  device.run('cache_append_quantized', [...append, scales?.key, scales?.value], [bits]);
  where.onAppended?.(q);
  const codes = [key, value, grids?.key, grids?.value, scales?.key, scales?.value];
  device.run(
    'attention_quantized',
    [q, query?.grid, ...codes, blockTable, sequences, positions, out],
    [bits, headDim, scale, query?.bits ?? 0],
  );
  return out;
}
