import { type AffineGrid, dequantize, quantize } from './affine';
import {
  channelGrid,
  designHeads,
  designInput,
  type InputDesign,
  type InputOptions,
} from './input-design';
import type { Observed } from './observed';

/** An input, and the same input with blocks of its channels rotated. */
export interface RotatedInput {
  readonly observed: Observed;
  /** Width of the blocks. */
  readonly width: number;
}

/**
 * R5 with clusters over all channels, or rotated (`rotateBlocks`) where the squared error on a sample is
 * less so. Rotated channels are clustered as well, but keep their places, since whatever makes them would
 * have to be rotated for another order: every place has the grid of its cluster.
 */
export function designRotated(
  observed: Observed,
  rotated: RotatedInput | undefined,
  options: InputOptions,
): InputDesign {
  const plain = designInput(observed, options);
  const other = rotated && designInput(rotated.observed, options);
  return betterOf({ observed, design: plain }, rotated, other, options.bits);
}

/** The same for R3, with clusters within each head. */
export function designRotatedHeads(
  observed: Observed,
  kvHeads: number,
  rotated: RotatedInput | undefined,
  options: InputOptions,
): InputDesign & { readonly valueOrder: Int32Array } {
  const plain = designHeads(observed, kvHeads, options);
  const other = rotated && designHeads(rotated.observed, kvHeads, options);
  const better = betterOf({ observed, design: plain }, rotated, other, options.bits);
  const { valueOrder } = plain;
  return better === plain ? plain : { ...better, valueOrder: Int32Array.from(valueOrder.keys()) };
}

function betterOf(
  plain: { observed: Observed; design: InputDesign },
  rotated: RotatedInput | undefined,
  design: InputDesign | undefined,
  bits: number,
): InputDesign {
  if (!rotated || !design) return plain.design;
  const error = squaredError(rotated.observed, design, bits);
  if (error >= squaredError(plain.observed, plain.design, bits)) return plain.design;
  return { ...inPlace(design), rotation: rotated.width };
}

/** The same grids for channels that stay where they are. */
function inPlace({ order, ...clusters }: InputDesign): InputDesign {
  const values = channelGrid(clusters);
  const grids: AffineGrid[] = [];
  for (const [place, channel] of order.entries()) grids[channel] = gridAt(values, place);
  return { order: Int32Array.from(order.keys()), sizes: grids.map(() => 1), grids };
}

function squaredError({ sample }: Observed, design: InputDesign, bits: number): number {
  const values = channelGrid(design);
  const grids = [...design.order.keys()].map((place) => gridAt(values, place));
  let sum = 0;
  for (const row of sample.rows) {
    for (const [place, channel] of design.order.entries()) {
      const grid = grids[place] as AffineGrid;
      const x = row[channel] as number;
      sum += (dequantize(quantize(x, grid, bits), grid) - x) ** 2;
    }
  }
  return sum;
}

function gridAt(values: Float32Array, place: number): AffineGrid {
  return {
    scale: values[place] as number,
    zero: values[values.length / 2 + place] as number,
  };
}
