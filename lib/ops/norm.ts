import type { Tensor } from '../tensor';

export interface NormOptions {
  eps: number;
  /** float[T, D]; `x` is added to it first (in place), and the sum is what is normalised. */
  residual?: Tensor | undefined;
}

/** Root-mean-square norm over the last axis (arXiv 1910.07467). x float[T, D], weight float[D]. */
export function rmsNorm(x: Tensor, weight: Tensor, { eps, residual }: NormOptions): Tensor {
  const out = x.device.empty(x.dtype, [...x.shape]);
  x.device.run('rms_norm', [x, residual, weight, out], [eps]);
  return out;
}

/** Layer norm over the last axis (arXiv 1607.06450). x float[T, D], weight and bias float[D]. */
export function layerNorm(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  { eps, residual }: NormOptions,
): Tensor {
  const out = x.device.empty(x.dtype, [...x.shape]);
  x.device.run('layer_norm', [x, residual, weight, bias, out], [eps]);
  return out;
}
