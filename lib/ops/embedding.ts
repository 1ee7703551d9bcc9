import type { DType } from '../native';
import type { Tensor } from '../tensor';

/** A table of vectors as codes of `int8Quantize`, which may be padded in both directions. */
export interface CodedTable {
  /** i8[>= V, >= width]. */
  readonly codes: Tensor;
  /** f32[V]: the largest absolute value of each row, which code 127 stands for. */
  readonly scales: Tensor;
  readonly width: number;
}

/**
 * Rows of a table: `out[t] = table[ids[t] + offset]`; zeros for a negative (padding) id.
 * @param ids i32[T] @param table float[V, D], or codes with their scales
 * @param options `into`: add to this float[T, D] instead of making a new tensor of `dtype` (default
 * the table's, f32 for codes)
 */
export function embedding(
  ids: Tensor,
  table: Tensor | CodedTable,
  options: { dtype?: DType; offset?: number; into?: Tensor } = {},
): Tensor {
  const coded = 'codes' in table;
  const width = coded ? table.width : (table.shape[1] as number);
  const dtype = options.dtype ?? (coded ? 'f32' : table.dtype);
  const out = options.into ?? ids.device.empty(dtype, [ids.shape[0] as number, width]);
  const tensors = coded ? [table.codes, table.scales] : [table, undefined];
  ids.device.run('embedding', [ids, ...tensors, out], [options.offset ?? 0, options.into ? 1 : 0]);
  return out;
}
