import type { DType } from '../native';
import type { Tensor } from '../tensor';

/**
 * Rows of a table: `out[t] = table[ids[t] + offset]`; zeros for a negative (padding) id.
 * @param ids i32[T] @param table float[V, D]
 * @param options `into`: add to this float[T, D] instead of making a new tensor of `dtype`
 */
export function embedding(
  ids: Tensor,
  table: Tensor,
  options: { dtype?: DType; offset?: number; into?: Tensor } = {},
): Tensor {
  const shape = [ids.shape[0] as number, table.shape[1] as number];
  const out = options.into ?? ids.device.empty(options.dtype ?? table.dtype, shape);
  ids.device.run('embedding', [ids, table, out], [options.offset ?? 0, options.into ? 1 : 0]);
  return out;
}
