import type { DType } from '../native';
import type { Tensor } from '../tensor';
import { ACTIVATION, type Activation } from './linear';

/** How the outlier columns are split off: as in the paper, or as bitsandbytes does it. */
export type LlmInt8Mode = 'paper' | 'bitsandbytes';

const MODE: Record<LlmInt8Mode, number> = { paper: 0, bitsandbytes: 1 };

/** int8 operands are padded to multiples of this along both axes. */
export const INT8_ALIGNMENT = 16;

export function alignInt8(extent: number): number {
  return Math.ceil(extent / INT8_ALIGNMENT) * INT8_ALIGNMENT;
}

/** What `int8Quantize` leaves: the int8 part, and which columns of `x` stay in 16 bits. */
export interface Int8Activations {
  /** float[M, K], the unquantized input. */
  x: Tensor;
  /** i8[M, Kp], 0 in outlier columns. */
  codes: Tensor;
  /** f32[M]: absmax of each row, not divided by 127. */
  scales: Tensor;
  /** i32[K], the first `count[0]` entries are outlier columns; absent when threshold is 0. */
  columns?: Tensor | undefined;
  count?: Tensor | undefined;
}

/**
 * Vector-wise absmax quantization of rows, with the outlier columns of LLM.int8() left out
 * (arXiv 2208.07339, section 3). `stats` i64[2] counts [values that went to int8, all values].
 */
export function int8Quantize(
  x: Tensor,
  options: { threshold: number; mode: LlmInt8Mode; stats?: Tensor | undefined },
): Int8Activations {
  const { device } = x;
  const [rows, cols] = x.shape as unknown as [number, number];
  const codes = device.empty('i8', [rows, alignInt8(cols)]);
  const scales = device.empty('f32', [rows]);
  const split = options.threshold > 0;
  const columns = split ? device.empty('i32', [cols]) : undefined;
  const count = split ? device.empty('i32', [1]) : undefined;
  device.run(
    'int8_quantize',
    [x, codes, scales, columns, count, options.stats],
    [options.threshold, MODE[options.mode]],
  );
  return { x, codes, scales, columns, count };
}

/** An int8 weight as `linearInt8` takes it. */
export interface Int8Weight {
  /** i8[Np, Kp], zero beyond [N, K]. */
  codes: Tensor;
  /** f32[N]: absmax of each row (`SCB` on disk). */
  scales: Tensor;
  bias?: Tensor | undefined;
  /** i32[K]: the row of `kept` that holds a column in 16 bits, or -1. */
  keptSlots?: Tensor | undefined;
  /** float[S, N]: columns of the weight as they were before quantization. */
  kept?: Tensor | undefined;
}

/** The int8 product plus the 16-bit outlier part (arXiv 2208.07339, section 3). Returns [M, N]. */
export function linearInt8(
  input: Int8Activations,
  weight: Int8Weight,
  options: { mode: LlmInt8Mode; activation?: Activation; dtype?: DType },
): Tensor {
  const { x } = input;
  const shape = [x.shape[0] as number, weight.scales.shape[0] as number];
  const out = x.device.empty(options.dtype ?? x.dtype, shape);
  x.device.run(
    'linear_int8',
    [
      input.codes,
      input.scales,
      input.columns,
      input.count,
      x,
      weight.codes,
      weight.scales,
      weight.bias,
      weight.keptSlots,
      weight.kept,
      out,
    ],
    [MODE[options.mode], ACTIVATION[options.activation ?? 'none']],
  );
  return out;
}

/** Per column, the relative error of int8 codes: |w - q| / |w|. weight float[N, K], result f32[K]. */
export function int8ColumnError(weight: Tensor, codes: Tensor, scales: Tensor): Tensor {
  const out = weight.device.empty('f32', [weight.shape[1] as number]);
  weight.device.run('int8_column_error', [weight, codes, scales, out]);
  return out;
}
