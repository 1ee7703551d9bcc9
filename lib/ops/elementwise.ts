import type { DType } from '../native';
import type { Tensor } from '../tensor';

/** a + b, of one shape and float dtype; in place when `into` is one of them. */
export function add(a: Tensor, b: Tensor, into?: Tensor): Tensor {
  const out = into ?? a.device.empty(a.dtype, [...a.shape]);
  a.device.run('add', [a, b, out]);
  return out;
}

/** The gated activation of Llama's MLP: silu(gate) * up, float[T, I]. */
export function siluMul(gate: Tensor, up: Tensor): Tensor {
  const out = gate.device.empty(gate.dtype, [...gate.shape]);
  gate.device.run('silu_mul', [gate, up, out]);
  return out;
}

/** The gated activation of BitNet b1.58 2B4T: max(gate, 0)^2 * up, float[T, I]. Overflows f16. */
export function relu2Mul(gate: Tensor, up: Tensor): Tensor {
  const out = gate.device.empty(gate.dtype, [...gate.shape]);
  gate.device.run('relu2_mul', [gate, up, out]);
  return out;
}

/** Multiplies column k of x float[T, K] by scale[k] (f32[K]), in place. */
export function scaleColumns(x: Tensor, scale: Tensor): Tensor {
  x.device.run('scale_columns', [x, scale]);
  return x;
}

/** The same values in another float dtype, rounded to nearest even. */
export function cast(x: Tensor, dtype: DType): Tensor {
  const out = x.device.empty(dtype, [...x.shape]);
  x.device.run('cast', [x, out]);
  return out;
}

/** Overwrites a tensor with reproducible noise: uniform, standard deviation `scale` (i8: any code). */
export function fillRandom(out: Tensor, seed: number, scale = 1): Tensor {
  out.device.run('fill_random', [out], [seed, scale]);
  return out;
}
