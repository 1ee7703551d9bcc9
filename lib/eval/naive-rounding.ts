import { type AffineGrid, affineGrid, dequantize, quantize } from '../quant/rptq/affine';
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

/** Rounds all values of x float[T, K] in place: onto one grid, or each row onto one of its own. */
export function roundNaively(x: Tensor, bits: number, grid?: AffineGrid): void {
  const { device } = x;
  const values = x.readFloats();
  const width = x.shape[1] as number;
  for (let at = 0; at < values.length; at += width) {
    const row = values.subarray(at, at + width);
    roundRow(row, bits, grid ?? ownGrid(row, bits));
  }
  device.scope(() => {
    device.run('cast', [device.empty('f32', [...x.shape]).write(values), x]);
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
