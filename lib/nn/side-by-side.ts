import type { Tensor } from '../tensor';
import type { LinearOptions } from './linear-module';

/** A product of some outputs of a linear layer. */
export interface PartProduct {
  /** How many outputs. */
  readonly outFeatures: number;
  /** Into float[T, outFeatures] where `into` is given, whose rows may be spaced apart. */
  multiply(options: LinearOptions & { into?: Tensor }): Tensor;
}

/** The outputs of products with x float[T, K], side by side as one matrix; at least one product. */
export function sideBySide(
  x: Tensor,
  products: readonly PartProduct[],
  options: LinearOptions,
): Tensor {
  const [only, other] = products;
  if (only && !other) return only.multiply(options);
  const columns = products.reduce((sum, product) => sum + product.outFeatures, 0);
  const out = x.device.empty(options.dtype ?? x.dtype, [x.shape[0] as number, columns]);
  let begin = 0;
  for (const { outFeatures, multiply } of products) {
    multiply({ ...options, into: out.columns(begin, begin + outFeatures) });
    begin += outFeatures;
  }
  return out;
}
