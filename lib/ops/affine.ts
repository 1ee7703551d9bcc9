import type { DType } from '../native';
import type { Tensor } from '../tensor';
import { GATED, type GatedActivation } from './bitnet';
import { ACTIVATION, type Activation } from './linear';

/** Widths of codes of activations on static grids. */
export const AFFINE_ACTIVATION_BITS = [8, 4] as const;
export type AffineActivationBits = (typeof AFFINE_ACTIVATION_BITS)[number];

/** Widths of weights that `linearAffine` takes. */
export const AFFINE_WEIGHT_BITS = [3, 4, 8] as const;
export type AffineWeightBits = (typeof AFFINE_WEIGHT_BITS)[number];

/** Columns of codes, and groups of weights, come in multiples of this. */
export const AFFINE_ALIGNMENT = 32;

/** Activations as codes on static grids; `src/ops/affine_codes.h` says how they lie in memory. */
export interface AffineActivations {
  /** i8[M, K], or u8[M, K / 2] for 4 bits. */
  codes: Tensor;
  bits: AffineActivationBits;
  /** Dtype of what was quantized. */
  dtype: DType;
}

/** A static grid: column j has the code clamp(round(x / grid[0, j]) + grid[1, j]). */
export interface AffineGridOptions {
  /** f32[2, P]: scales, then zero points (whole numbers). */
  grid: Tensor;
  bits: AffineActivationBits;
  /** i32[P]: the column of the input that is written to each place; default: all, as they are. */
  order?: Tensor | undefined;
}

/** Widths of the blocks of columns that `affineQuantize` can rotate, widest first. */
export const AFFINE_ROTATIONS = [256, 128, 64, 32, 16, 8] as const;

export interface AffineQuantizeOptions extends AffineGridOptions {
  /** x is activation(x) * up instead. */
  gated?: { activation: GatedActivation; up: Tensor } | undefined;
  /**
   * Width of the blocks of neighbouring columns that are multiplied by Hadamard's matrix / sqrt(width)
   * first: one of `AFFINE_ROTATIONS` that divides K, without `order`; default 0, none.
   */
  rotation?: number | undefined;
}

/**
 * Codes of x float[M, K] on static grids (RPTQ, arXiv 2304.01089), of a gated unit, or of what a rotation
 * makes of either: see `src/ops/affine_quantize.h`.
 */
export function affineQuantize(
  x: Tensor,
  { grid, bits, order, gated, rotation = 0 }: AffineQuantizeOptions,
): AffineActivations {
  const { device, dtype } = x;
  const codes = emptyCodes(x, grid.shape[1] as number, bits);
  device.run(
    'affine_quantize',
    [x, gated?.up, order, grid, codes],
    [GATED[gated?.activation ?? 'none'], bits, rotation],
  );
  return { codes, bits, dtype };
}

export interface AffineNorm {
  /** Layer norm, or else RMS norm. */
  centered: boolean;
  /** float[D]. */
  weight?: Tensor | undefined;
  /** float[D]. */
  bias?: Tensor | undefined;
  eps: number;
  /** float[T, D]; `x` is added to it first (in place), and the sum is what is normalised. */
  residual?: Tensor | undefined;
}

/** A norm whose output comes as codes, reordered: see `src/ops/norm_quantize.h`. x float[T, D]. */
export function normQuantize(
  x: Tensor,
  norm: AffineNorm,
  { grid, bits, order }: AffineGridOptions,
): AffineActivations {
  const codes = emptyCodes(x, grid.shape[1] as number, bits);
  runNorm(x, norm, { order, grid, bits, out: codes });
  return { codes, bits, dtype: x.dtype };
}

/** A norm whose output float[T, P] is in another order; x float[T, D], order i32[P]. */
export function normReorder(x: Tensor, norm: AffineNorm, order: Tensor): Tensor {
  const out = x.device.empty(x.dtype, [x.shape[0] as number, order.elements]);
  runNorm(x, norm, { order, bits: 16, out });
  return out;
}

function runNorm(
  x: Tensor,
  { centered, weight, bias, eps, residual }: AffineNorm,
  { order, grid, bits, out }: { order?: Tensor; grid?: Tensor; bits: number; out: Tensor },
): void {
  const tensors = [x, residual, weight, bias, order, grid, out];
  x.device.run('norm_quantize', tensors, [centered ? 1 : 0, eps, bits]);
}

function emptyCodes(x: Tensor, columns: number, bits: AffineActivationBits): Tensor {
  const [rows] = x.shape as readonly [number];
  return bits === 8
    ? x.device.empty('i8', [rows, columns])
    : x.device.empty('u8', [rows, columns / 2]);
}

/** Bytes of a weight row in a plane of fields of `width` bits. */
export function affinePlaneBytes(positions: number, width: number): number {
  return Math.ceil(positions / 128) * 16 * width;
}

/** The codes of a weight as `linearAffine` takes them. */
export interface AffinePlanes {
  /** u8[N, bytes], i8 for 8 bits: the codes; of 3-bit ones the low 2 bits. */
  codes: Tensor;
  /** u8[N, bytes]: the top bits of 3-bit codes. */
  high?: Tensor | undefined;
}

/** Allocates planes for `rows` of codes. */
export function affinePlanes(
  { device }: Pick<Tensor, 'device'>,
  { rows, positions, bits }: { rows: number; positions: number; bits: AffineWeightBits },
): AffinePlanes {
  const low = [rows, affinePlaneBytes(positions, bits === 3 ? 2 : bits)];
  return {
    codes: device.allocate(bits === 8 ? 'i8' : 'u8', low),
    high: bits === 3 ? device.allocate('u8', [rows, affinePlaneBytes(positions, 1)]) : undefined,
  };
}

/**
 * Copies the codes of a GPTQ weight (`gptq_repack` leaves them so, in `GptqWeight`) into the order
 * of `linearAffine`. Scales and zero points are the same for both.
 */
export function affineRepack(
  from: AffinePlanes,
  { bits, positions }: { bits: AffineWeightBits; positions: number },
  into: AffinePlanes = affinePlanes(from.codes, {
    rows: from.codes.shape[0] as number,
    positions,
    bits,
  }),
): AffinePlanes {
  const tensors = [from.codes, from.high, into.codes, into.high];
  from.codes.device.run('affine_repack', tensors, [bits, positions]);
  return into;
}

/** A weight as `linearAffine` takes it: scales[n, g] * (code[n, k] - zeros[n, g]). */
export interface AffineWeight extends AffinePlanes {
  bits: AffineWeightBits;
  /** Columns that share a scale and a zero point: a multiple of 32. */
  groupSize: number;
  /** float[N, G]. */
  scales: Tensor;
  /** u8[N, G]; absent for 8 bits, whose zero point is 128. */
  zeros?: Tensor | undefined;
  /** float[N]. */
  bias?: Tensor | undefined;
}

/**
 * activation(codes W + bias) on codes of activations and of weights (RPTQ, arXiv 2304.01089), exact
 * in int32 within each group: see `src/ops/linear_affine.h`.
 * @param options.into rows of `[M, N]` to write, which may be spaced apart; default a new tensor
 * @returns [M, N] of the dtype of what was quantized, or of `options.dtype`
 */
export function linearAffine(
  input: AffineActivations,
  weight: AffineWeight,
  options: { activation?: Activation; dtype?: DType; into?: Tensor } = {},
): Tensor {
  const { device } = input.codes;
  const shape = [input.codes.shape[0] as number, weight.scales.shape[0] as number];
  const out = options.into ?? device.empty(options.dtype ?? input.dtype, shape);
  const { codes, high, scales, zeros, bias, bits, groupSize } = weight;
  device.run(
    'linear_affine',
    [input.codes, codes, high, scales, zeros, bias, out],
    [input.bits, bits, groupSize, ACTIVATION[options.activation ?? 'none']],
  );
  return out;
}
