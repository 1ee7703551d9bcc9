import * as ops from '../ops';
import type { Tensor } from '../tensor';
import type { Norm } from './norm';

/**
 * What linear layers read, as the steps that make it: a method that quantizes activations computes
 * them in one kernel with the quantization, others one by one (`computed`).
 */
export interface LinearInput {
  readonly x: Tensor;
  /** The gated unit activation(x) * up in the place of x. */
  readonly gated?: { readonly activation: GatedUnit; readonly up: Tensor } | undefined;
  /** With a norm: x is added to it first, in place, and the sum is normalised. */
  readonly residual?: Tensor | undefined;
  readonly norm?: Norm | undefined;
}

/** Activations of gated units. */
export type GatedUnit = 'silu' | 'relu2';

/** The tensor that the steps make. */
export function computed({ x, gated, residual, norm }: LinearInput): Tensor {
  const value = gated ? gatedUnit(gated.activation, x, gated.up) : x;
  return norm ? norm.forward(value, residual) : value;
}

function gatedUnit(activation: GatedUnit, gate: Tensor, up: Tensor): Tensor {
  return activation === 'relu2' ? ops.relu2Mul(gate, up) : ops.siluMul(gate, up);
}
