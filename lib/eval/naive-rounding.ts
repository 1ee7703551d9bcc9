import { type AffineGrid, affineGrid, dequantize, quantize } from '../quant/rptq/affine';
import { floatRows } from '../quant/rptq/observed';
import type { Tensor } from '../tensor';

/** The smallest and largest value that was seen. */
export class Span {
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;

  add(values: Float32Array): void {
    for (const value of values) {
      if (value < this.min) this.min = value;
      if (value > this.max) this.max = value;
    }
  }

  grid(bits: number): AffineGrid {
    return affineGrid(this.min, this.max, bits);
  }
}

export interface NaiveRounding {
  bits: number;
  /** One grid for all values. Default: each row has one of its own. */
  grid?: AffineGrid | undefined;
  /** Channels of a head, each of which counts as a row; default all. */
  width?: number;
}

/** Rounds all values of x float[T, K], whose rows may be spaced apart, in place. */
export function roundNaively(x: Tensor, { bits, grid, width }: NaiveRounding): void {
  const { device } = x;
  const [rows, channels] = x.shape as readonly [number, number];
  const values = floatRows(x);
  const own = width ?? channels;
  for (let at = 0; at < values.length; at += own) {
    const row = values.subarray(at, at + own);
    roundRow(row, bits, grid ?? ownGrid(row, bits));
  }
  device.scope(() => {
    const rounded = device.empty('f32', [rows, channels]).write(values);
    const isWhole = x.strides[0] === channels;
    if (isWhole) device.run('cast', [rounded, x]);
    for (let i = 0; i < rows && !isWhole; i++) {
      device.run('cast', [rounded.rows(i, i + 1), x.rows(i, i + 1)]);
    }
    return undefined;
  });
}

function roundRow(row: Float32Array, bits: number, grid: AffineGrid): void {
  for (const [k, value] of row.entries()) row[k] = dequantize(quantize(value, grid, bits), grid);
}

function ownGrid(row: Float32Array, bits: number): AffineGrid {
  const span = new Span();
  span.add(row);
  return span.grid(bits);
}
