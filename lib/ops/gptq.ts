import type { DType } from '../native';
import type { Tensor } from '../tensor';
import { ACTIVATION, type Activation } from './linear';

/** Widths that GPTQ weights can have. */
export const GPTQ_BITS = [2, 3, 4, 8] as const;

export type GptqBits = (typeof GPTQ_BITS)[number];

/** A GPTQ weight as `linearGptq` takes it; `src/ops/gptq_layout.h` says how codes lie in memory. */
export interface GptqWeight {
  bits: GptqBits;
  /** Positions that share a scale and a zero point. */
  groupSize: number;
  /** u8[N, bytes]: the codes; of 3-bit ones the low 2 bits. */
  codes: Tensor;
  /** u8[N, bytes]: the top bits of 3-bit codes. */
  high?: Tensor | undefined;
  /** float[N, G]. */
  scales: Tensor;
  /** u8[N, G]. */
  zeros: Tensor;
  /** i32[P]: the input column at each position (-1: none), where that is not the position itself. */
  order?: Tensor | undefined;
  /** float[N]. */
  bias?: Tensor | undefined;
}

/** Bytes of a weight row in a plane of fields of `width` bits. */
export function gptqPlaneBytes(positions: number, width: number): number {
  return (Math.ceil(positions / 32) * 32 * width) / 8;
}

/** Bits of a code that lie in `codes`; one more lies in `high` for 3 bits. */
export function gptqLowWidth(bits: GptqBits): number {
  return bits === 3 ? 2 : bits;
}

/**
 * activation(x W + bias) with GPTQ weights (arXiv 2210.17323), accumulated in fp32.
 * @param x float[M, K]
 * @param options.into rows of `[M, N]` to write, which may be spaced apart; default a new tensor
 * @returns [M, N] of the dtype of x, or of `options.dtype` (f32)
 */
export function linearGptq(
  x: Tensor,
  weight: GptqWeight,
  options: { activation?: Activation; dtype?: DType; into?: Tensor } = {},
): Tensor {
  const shape = [x.shape[0] as number, weight.scales.shape[0] as number];
  const out = options.into ?? x.device.empty(options.dtype ?? x.dtype, shape);
  const { codes, high, scales, zeros, order, bias } = weight;
  x.device.run(
    'linear_gptq',
    [x, codes, high, scales, zeros, order, bias, out],
    [weight.bits, weight.groupSize, ACTIVATION[options.activation ?? 'none']],
  );
  return out;
}
