import type { DType } from '../../lib/native';
import type { OpCase } from '../cases/op-case';
import type { Outputs } from './run-case';

/**
 * Largest normalised mean square error, sum (a - b)^2 / sum b^2, of an output whose values are
 * rounded to a dtype once or twice on the way. A single rounding to fp16 comes to 4e-8, to bf16 to
 * 3e-6.
 */
export const NMSE: Readonly<Record<'f32' | 'f16' | 'bf16', number>> = {
  f32: 1e-10,
  f16: 1e-6,
  bf16: 3e-5,
};

// Jest looks globals up through its sandbox, which is slow in a loop.
const { isFinite: finite } = Number;

/** Normalised mean square error over the finite values; other values must agree exactly. */
export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} values instead of ${expected.length}`);
  }
  let error = 0;
  let power = 0;
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [actual[i] as number, expected[i] as number];
    if (finite(b) && finite(a)) {
      error += (a - b) ** 2;
      power += b * b;
    } else if (!Object.is(a, b)) {
      throw new Error(`value ${i} is ${a} instead of ${b}`);
    }
  }
  return error === 0 ? 0 : error / power;
}

/** Checks all outputs of a case: integers exactly, floats within the tolerance of `precision`. */
export function expectOutputs(
  opCase: OpCase,
  actual: Outputs,
  expected: Outputs,
  precision: DType,
): void {
  expect(Object.keys(actual)).toEqual(Object.keys(expected));
  for (const [name, values] of Object.entries(expected)) {
    const { dtype } = opCase.tensors[name] as { dtype: string };
    const found = actual[name] as Float64Array;
    if (/^[iu]\d/.test(dtype)) {
      expect([name, found.length]).toEqual([name, values.length]);
      const wrong = values.findIndex((value, i) => found[i] !== value);
      if (wrong >= 0) throw new Error(`${name}[${wrong}] is ${found[wrong]}, not ${values[wrong]}`);
    } else {
      const limit = NMSE[dtype === 'f32' ? outputPrecision(opCase, precision) : narrow(precision)];
      const error = nmse(found, values);
      if (!(error <= limit)) throw new Error(`${name}: NMSE ${error} exceeds ${limit}`);
    }
  }
}

/** An f32 output still depends on what 16-bit units make of 16-bit inputs, if there are any. */
function outputPrecision({ tensors }: OpCase, precision: DType): 'f32' | 'f16' | 'bf16' {
  const has16 = Object.values(tensors).some(
    (tensor) => tensor?.dtype === 'hidden' || tensor?.dtype === 'weight',
  );
  return has16 ? narrow(precision) : 'f32';
}

function narrow(dtype: DType): 'f32' | 'f16' | 'bf16' {
  return dtype === 'f16' || dtype === 'bf16' ? dtype : 'f32';
}
