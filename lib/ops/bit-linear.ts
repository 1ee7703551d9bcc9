import type { DType } from '../native';
import type { Tensor } from '../tensor';
import { type BitnetQuantizeOptions, type BitnetWeight, GATED } from './bitnet';
import { ACTIVATION, type Activation } from './linear';

/**
 * A BitLinear layer (arXiv 2402.17764, section 2): `linearBitnet(bitnetQuantize(x, input), weight)`
 * in one call, which is one kernel where rows are few. x float[M, K].
 * @param options.into rows of `[M, N]` to write, which may be spaced apart; default a new tensor
 * @returns [M, N] of the dtype of x, or of `options.dtype`
 */
export function bitLinear(
  x: Tensor,
  weight: BitnetWeight,
  { gated, residual, norm }: BitnetQuantizeOptions = {},
  options: { activation?: Activation; dtype?: DType; into?: Tensor } = {},
): Tensor {
  const { device } = x;
  const shape = [x.shape[0] as number, weight.scales.shape[0] as number];
  const out = options.into ?? device.empty(options.dtype ?? x.dtype, shape);
  device.run(
    'bit_linear',
    [x, gated?.up, residual, norm?.weight, weight.codes, weight.scales, weight.bias, out],
    [GATED[gated?.activation ?? 'none'], norm?.eps ?? 0, ACTIVATION[options.activation ?? 'none']],
  );
  return out;
}
