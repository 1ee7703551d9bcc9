import type { Tensor } from '../tensor';
import type { GptqBits } from './gptq';

/** How gptq_factor orders the columns of a weight. */
export type GptqOrdering = 'none' | 'descending' | 'within-groups';

const ORDERING: Record<GptqOrdering, number> = { none: 0, descending: 1, 'within-groups': 2 };

/** Which values make a grid of gptq_quantize; see `src/ops/gptq_quantize.h`. */
export type GptqGrouping = 'by-position' | 'static' | 'by-column';

const GROUPING: Record<GptqGrouping, number> = { 'by-position': 0, static: 1, 'by-column': 2 };

/** h = keep * h + scale * x^T x. x float[M, K], h f32[K, K]. */
export function gptqHessian(h: Tensor, x: Tensor, options: { keep: number; scale: number }): void {
  h.device.run('gptq_hessian', [x, h], [options.keep, options.scale]);
}

/** What `gptqFactor` makes of a Hessian. */
export interface GptqFactor {
  /** f32[K, K]: upper Cholesky factor of the inverse, columns in `order`. */
  factor: Tensor;
  /** i32[K]: the column at each position. */
  order: Tensor;
  /** u8[K]: 1 for inputs that are always 0. */
  dead: Tensor;
  /** f32[1]: the damping that was needed, -1 when none sufficed. */
  used: Tensor;
}

/**
 * The factor and column order that GPTQ works with (arXiv 2210.17323, section 3.3). h f32[K, K].
 * @param options.damp share of the mean diagonal that is added to the diagonal; raised if need be
 */
export function gptqFactor(
  h: Tensor,
  options: { ordering: GptqOrdering; groupSize: number; damp: number },
): GptqFactor {
  const { device } = h;
  const k = h.shape[0] as number;
  const result = {
    factor: device.empty('f32', [k, k]),
    order: device.empty('i32', [k]),
    dead: device.empty('u8', [k]),
    used: device.empty('f32', [1]),
  };
  device.run(
    'gptq_factor',
    [h, result.factor, result.order, result.dead, result.used],
    [ORDERING[options.ordering], options.groupSize, options.damp],
  );
  return result;
}

/** A weight as `gptqQuantize` leaves it. */
export interface GptqCodes {
  /** u8[N, K], by input column. */
  codes: Tensor;
  /** f32[N, G]. */
  scales: Tensor;
  /** u8[N, G]. */
  zeros: Tensor;
  /** f32[N]: what the rounding of a row costs. */
  loss: Tensor;
}

export interface GptqGridOptions {
  bits: GptqBits;
  /** Columns per grid; undefined: one grid per row. */
  groupSize?: number | undefined;
  sym: boolean;
  grouping?: GptqGrouping;
  /** Exponent of the error that the search for the best range minimises; 0 for no search. */
  mse?: number;
}

/**
 * Quantizes a weight by GPTQ (arXiv 2210.17323, algorithm 1), or by rounding to nearest when there
 * is no factor. `w` f32[N, K] becomes the dequantized weight.
 */
export function gptqQuantize(
  w: Tensor,
  factor: Pick<GptqFactor, 'factor' | 'order' | 'dead'> | undefined,
  { bits, groupSize, sym, grouping = 'by-position', mse = 0 }: GptqGridOptions,
): GptqCodes {
  const { device } = w;
  const [n, k] = w.shape as unknown as [number, number];
  const groups = groupSize === undefined ? 1 : Math.ceil(k / groupSize);
  const result = {
    codes: device.empty('u8', [n, k]),
    scales: device.empty('f32', [n, groups]),
    zeros: device.empty('u8', [n, groups]),
    loss: device.empty('f32', [n]),
  };
  const { codes, scales, zeros, loss } = result;
  device.run(
    'gptq_quantize',
    [w, factor?.factor, factor?.order, factor?.dead, codes, scales, zeros, loss],
    [bits, groupSize ?? 0, sym ? 1 : 0, GROUPING[grouping], mse],
  );
  return result;
}
