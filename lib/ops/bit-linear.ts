import type { Tensor } from '../tensor';
import {
  type BitLinearOptions,
  type BitnetQuantizeOptions,
  type BitnetWeight,
  GATED,
} from './bitnet';
import { ACTIVATION } from './linear';

/**
 * A BitLinear layer (arXiv 2402.17764, section 2): `linearBitnet(bitnetQuantize(x, input), weight)`
 * in one call, which is one kernel where rows are few. x float[M, K].
 * @returns [M, N] of the dtype of x, or of `options.dtype`
 */
export function bitLinear(
  x: Tensor,
  weight: BitnetWeight,
  { gated, norm }: BitnetQuantizeOptions = {},
  options: BitLinearOptions = {},
): Tensor {
  const { device } = x;
  const shape = [x.shape[0] as number, weight.scales.shape[0] as number];
  const out = options.into ?? device.empty(options.dtype ?? x.dtype, shape);
  device.run(
    'bit_linear',
    [x, gated?.up, norm?.weight, weight.codes, weight.scales, weight.bias, options.residual, out],
    [GATED[gated?.activation ?? 'none'], norm?.eps ?? 0, ACTIVATION[options.activation ?? 'none']],
  );
  return out;
}
