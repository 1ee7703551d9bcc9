import type { DType } from '../native';
import type { Tensor } from '../tensor';

/** Applied to the output of a linear layer inside its kernel. */
export type Activation = 'none' | 'relu';

/** @internal The attribute that ops take for an activation. */
export const ACTIVATION: Record<Activation, number> = { none: 0, relu: 1 };

/**
 * activation(x weight^T + bias), accumulated in fp32.
 * @param x float[M, K] @param weight float[N, K] @param bias float[N]
 * @returns [M, N] of the dtype of x, or of `options.dtype` (f32)
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  options: {
    activation?: Activation;
    dtype?: DType;
    /** Use the vendor's matrix product (cuBLASLt) and no kernel of fewbit's own, as a baseline. */
    vendorLibrary?: boolean;
  } = {},
): Tensor {
  const shape = [x.shape[0] as number, weight.shape[0] as number];
  const out = x.device.empty(options.dtype ?? x.dtype, shape);
  const attrs = [ACTIVATION[options.activation ?? 'none'], options.vendorLibrary ? 1 : 0];
  x.device.run('linear', [x, weight, bias, out], attrs);
  return out;
}
