import { Device, type DeviceName } from '../../lib/device';
import type { DType } from '../../lib/native';
import * as ops from '../../lib/ops';
import { rounded } from '../support/half';
import { uniform } from '../support/random';
import { normals, numbersOf, tensorOf } from '../support/tensors';

interface Layer {
  m: number;
  n: number;
  k: number;
  x: Float64Array;
  weight: Float64Array;
  bias?: Float64Array;
}

/** Share of the values farther from the exact ones than atol + rtol * |exact|. */
function shareBeyond(actual: number[], exact: number[], atol: number, rtol: number): number {
  const far = exact.filter((value, i) => {
    return !(Math.abs((actual[i] as number) - value) <= atol + rtol * Math.abs(value));
  });
  return far.length / exact.length;
}

function exactProduct({ m, n, k, x, weight, bias }: Layer): number[] {
  const out: number[] = [];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = bias?.[j] ?? 0;
      for (let p = 0; p < k; p++) sum += (x[i * k + p] as number) * (weight[j * k + p] as number);
      out.push(sum);
    }
  }
  return out;
}

/** The acceptance cases of bitsandbytes, as black boxes: how near LLM.int8() is to exact products. */
export function llmInt8Accuracy(name: DeviceName, hidden: DType): void {
  let device: Device;
  beforeAll(() => {
    device = Device.open(name);
  });
  afterAll(() => device?.dispose());

  /** Quantizes both sides and multiplies, with values that the hidden dtype holds exactly. */
  function run(layer: Layer, threshold: number, mode: ops.LlmInt8Mode = 'paper'): number[] {
    const { m, n, k, bias } = layer;
    return device.scope(() => {
      const weight = tensorOf(device, hidden, [n, k], layer.weight);
      const codes = device.empty('i8', [ops.alignInt8(n), ops.alignInt8(k)]);
      codes.write(new Int8Array(codes.elements));
      const scales = device.empty('f32', [n]);
      device.run('int8_quantize', [weight, codes, scales, undefined, undefined, undefined], [0, 0]);
      const x = tensorOf(device, hidden, [m, k], layer.x);
      const input = ops.int8Quantize(x, { threshold, mode });
      const biasTensor = bias && tensorOf(device, hidden, [n], bias);
      return numbersOf(ops.linearInt8(input, { codes, scales, bias: biasTensor }, { mode }));
    });
  }

  const hold = (values: Float64Array) =>
    values.map((value) => rounded(value, hidden === 'f32' ? 'f16' : hidden));
  /** Steps of a 16-bit dtype are part of the outputs; bf16 has 8 times those of fp16. */
  const coarse = hidden === 'bf16' ? 2 : 1;

  test('32 x 32 x 32 with a Xavier weight', () => {
    const [m, n, k] = [32, 32, 32];
    const next = uniform(3);
    const limit = Math.sqrt(6 / (n + k));
    const weight = hold(Float64Array.from({ length: n * k }, () => (2 * next() - 1) * limit));
    const layer = { m, n, k, x: hold(normals(m * k, 1, 0.5)), weight };
    expect(shareBeyond(run(layer, 0), exactProduct(layer), 0.025, 0.05)).toBe(0);
  });

  test('1024 to 3072, threshold 6', () => {
    const [m, n, k] = [3, 3072, 1024];
    const next = uniform(7);
    const range = (count: number) => {
      const limit = 1 / Math.sqrt(k);
      return hold(new Float64Array(count).map(() => (2 * next() - 1) * limit));
    };
    const layer = { m, n, k, x: hold(normals(m * k, 2)), weight: range(n * k), bias: range(n) };
    const exact = exactProduct(layer);
    for (const mode of ['paper', 'bitsandbytes'] as const) {
      const actual = run(layer, 6, mode);
      expect(shareBeyond(actual, exact, 0.02 * coarse, 0)).toBeLessThanOrEqual(2.5e-4);
      expect(shareBeyond(actual, exact, 0.03 * coarse, 0)).toBe(0);
    }
  });

  test.each([0, 6])('64 x 48 x 32 with columns of exactly 6, threshold %d', (threshold) => {
    const [m, n, k] = [64, 48, 32];
    const x = hold(normals(m * k, 4));
    for (const column of [3, 11, 17, 30]) for (let i = 0; i < m; i++) x[i * k + column] = 6;
    const layer = { m, n, k, x, weight: hold(normals(n * k, 5, 0.1)) };
    const [actual, exact] = [run(layer, threshold), exactProduct(layer)];
    const [near, far] = threshold ? [0.0175, 0.001] : [0.3, 0.02];
    expect(shareBeyond(actual, exact, 0.01 * coarse, 0.1)).toBeLessThanOrEqual(near);
    expect(shareBeyond(actual, exact, 0.035, 0.2)).toBeLessThanOrEqual(far);
  });

  test.each([0, 6])('no rows give no rows, threshold %d', (threshold) => {
    const none = { m: 0, n: 48, k: 32, x: new Float64Array(0), weight: normals(48 * 32, 1) };
    expect(run(none, threshold)).toEqual([]);
  });

  test.each([2, 3])('what is left of 512 x 1024 after threshold %d', (threshold) => {
    const [m, k] = [512, 1024];
    const numbers = hold(normals(m * k, threshold, threshold / 4.2));
    device.scope(() => {
      const x = tensorOf(device, hidden, [m, k], numbers);
      const input = ops.int8Quantize(x, { threshold, mode: 'paper' });
      const count = numbersOf(input.count as never)[0] as number;
      const outliers = new Set(numbersOf(input.columns as never).slice(0, count));
      expect(count).toBeGreaterThan(0);
      const [codes, scales] = [numbersOf(input.codes), numbersOf(input.scales)];
      const back = codes.map((code, i) => (code * (scales[Math.floor(i / k)] as number)) / 127);
      const kept = Array.from(numbers, (value, i) => (outliers.has(i % k) ? 0 : value));
      expect(shareBeyond(back, kept, 0.015, 0.05)).toBe(0);
    });
  });

  test('a row alone gives what it gives among others, without decomposition', () => {
    for (const m of [2, 9, 17, 65]) {
      const [n, k] = [33, 200];
      const layer = { m, n, k, x: hold(normals(m * k, m)), weight: hold(normals(n * k, 2)) };
      const all = run(layer, 0);
      for (const row of [0, m - 1]) {
        const alone = run({ ...layer, m: 1, x: layer.x.slice(row * k, (row + 1) * k) }, 0);
        expect(alone).toEqual(all.slice(row * n, (row + 1) * n));
      }
    }
  });

  test('NaN and infinity come through, and stay in their rows', () => {
    const [m, n, k] = [4, 20, 32];
    const x = hold(normals(m * k, 6));
    x[5] = Number.NaN;
    x[k + 7] = Number.POSITIVE_INFINITY;
    const layer = { m, n, k, x, weight: hold(normals(n * k, 8)) };
    for (const [threshold, mode] of [
      [0, 'paper'],
      [6, 'paper'],
      [6, 'bitsandbytes'],
    ] as const) {
      const out = run(layer, threshold, mode);
      expect(out.slice(0, n).every(Number.isNaN)).toBe(true);
      expect(out.slice(n, 2 * n).some(Number.isFinite)).toBe(false);
      expect(out.slice(2 * n).every(Number.isFinite)).toBe(true);
    }
  });

  test('paper mode is never coarser than bitsandbytes mode', () => {
    device.scope(() => {
      const x = normals(40 * 96, 9, 2.5);
      const scales = (mode: ops.LlmInt8Mode) => {
        const tensor = tensorOf(device, hidden, [40, 96], x);
        return numbersOf(ops.int8Quantize(tensor, { threshold: 6, mode }).scales);
      };
      const wide = scales('bitsandbytes');
      const fine = scales('paper');
      expect(fine.every((scale, row) => scale <= (wide[row] as number))).toBe(true);
      expect(fine).not.toEqual(wide);
    });
  });
}
