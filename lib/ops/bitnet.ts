import type { DType } from '../native';
import type { Tensor } from '../tensor';
import { ACTIVATION, type Activation } from './linear';

/** Rows of ternary weights, and of codes of activations, are padded to multiples of this. */
export const BITNET_ALIGNMENT = 64;

export function alignBitnet(columns: number): number {
  return Math.ceil(columns / BITNET_ALIGNMENT) * BITNET_ALIGNMENT;
}

/** Bytes of a row of ternary weights; `src/ops/bitnet_layout.h` says how they lie in memory. */
export function bitnetRowBytes(columns: number): number {
  return alignBitnet(columns) / 4;
}

/** The gated activations that `bitnetQuantize` can take in. */
export type GatedActivation = 'none' | 'silu' | 'relu2';

export const GATED: Record<GatedActivation, number> = { none: 0, silu: 1, relu2: 2 };

/** What `bitnetQuantize` leaves: int8 codes per row, which `codes * scales` turns back. */
export interface BitnetActivations {
  /** i8[M, Kp], 0 in padding. */
  codes: Tensor;
  /** f32[M]. */
  scales: Tensor;
  /** i32[M]: the sum of each row's codes. */
  sums: Tensor;
  /** Dtype of what was quantized. */
  dtype: DType;
}

export interface BitnetQuantizeOptions {
  /** x is activation(x) * up instead: the gated unit before a down projection. */
  gated?: { activation: GatedActivation; up: Tensor } | undefined;
  /** An RMS norm before the quantization. */
  norm?: { weight: Tensor; eps: number } | undefined;
}

/**
 * Absmax quantization per row (arXiv 2402.17764, section 2), with what comes before it: see
 * `src/ops/bitnet_quantize.h`. x float[M, K].
 */
export function bitnetQuantize(
  x: Tensor,
  { gated, norm }: BitnetQuantizeOptions = {},
): BitnetActivations {
  const { device, dtype } = x;
  const [rows, cols] = x.shape as unknown as [number, number];
  const codes = device.empty('i8', [rows, alignBitnet(cols)]);
  const scales = device.empty('f32', [rows]);
  const sums = device.empty('i32', [rows]);
  device.run(
    'bitnet_quantize',
    [x, gated?.up, norm?.weight, codes, scales, sums],
    [GATED[gated?.activation ?? 'none'], norm?.eps ?? 0],
  );
  return { codes, scales, sums, dtype };
}

/** A ternary weight as `linearBitnet` takes it. */
export interface BitnetWeight {
  /** u8[N, Kp / 4]. */
  codes: Tensor;
  /** f32[N]: what each row is multiplied by. */
  scales: Tensor;
  /** float[N]. */
  bias?: Tensor | undefined;
}

/** What a product with ternary weights does with its result. */
export interface BitLinearOptions {
  activation?: Activation;
  dtype?: DType;
  /** float[M, N] of the dtype of the result, which is added to it. */
  residual?: Tensor | undefined;
  /** Rows of `[M, N]` to write, which may be spaced apart; may be the residual. Default a new tensor. */
  into?: Tensor;
}

/**
 * activation(x W + bias) with ternary weights (arXiv 2402.17764, section 2); the sums are exact.
 * @returns [M, N] of the dtype of what was quantized, or of `options.dtype`
 */
export function linearBitnet(
  input: BitnetActivations,
  weight: BitnetWeight,
  options: BitLinearOptions = {},
): Tensor {
  const { device } = input.codes;
  const shape = [input.codes.shape[0] as number, weight.scales.shape[0] as number];
  const out = options.into ?? device.empty(options.dtype ?? input.dtype, shape);
  device.run(
    'linear_bitnet',
    [
      input.codes,
      input.scales,
      input.sums,
      weight.codes,
      weight.scales,
      weight.bias,
      options.residual,
      out,
    ],
    [ACTIVATION[options.activation ?? 'none']],
  );
  return out;
}
