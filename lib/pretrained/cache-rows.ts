import { cast } from '../ops';
import type { Tensor } from '../tensor';

/**
 * The first tokens of a cache float[pages, heads, pageSize, dim] that is filled page by page, as rows
 * f32[tokens, heads * dim].
 */
export function cacheRows(cache: Tensor, tokens: number): Float32Array {
  const [, heads, size, dim] = cache.shape as [number, number, number, number];
  const values = cache.device.scope(() => {
    const wide = cache.dtype === 'f32' ? cache : cast(cache, 'f32');
    return wide.read() as Float32Array;
  });
  const rows = new Float32Array(tokens * heads * dim);
  for (let token = 0; token < tokens; token++) {
    const page = Math.floor(token / size);
    for (let head = 0; head < heads; head++) {
      const from = ((page * heads + head) * size + (token % size)) * dim;
      rows.set(values.subarray(from, from + dim), (token * heads + head) * dim);
    }
  }
  return rows;
}
