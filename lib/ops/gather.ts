import type { Tensor } from '../tensor';

/** out[r] = x[rows[r]], zeros where rows[r] < 0. x [T, D], rows i32[R]. */
export function gatherRows(x: Tensor, rows: Tensor): Tensor {
  const out = x.device.empty(x.dtype, [rows.shape[0] as number, x.shape[1] as number]);
  x.device.run('gather_rows', [x, rows, out]);
  return out;
}

/** Columns of x [N, K], each made a row: out[s, n] = x[n, columns[s]]. columns i32[S]. */
export function gatherColumns(x: Tensor, columns: Tensor): Tensor {
  const out = x.device.empty(x.dtype, [columns.shape[0] as number, x.shape[0] as number]);
  x.device.run('gather_columns', [x, columns, out]);
  return out;
}
