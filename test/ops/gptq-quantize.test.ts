import { Device } from '../../lib/device';
import * as ops from '../../lib/ops';
import {
  inverse,
  type Matrix,
  type PlainOptions,
  type PlainResult,
  plainGptq,
  upperCholesky,
} from '../support/reference/gptq-quantizer';
import { normals, numbersOf, tensorOf } from '../support/tensors';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu');
});
afterAll(() => device.dispose());

const matrixOf = (values: ArrayLike<number>, cols: number): Matrix =>
  Array.from({ length: values.length / cols }, (_, row) =>
    Array.from({ length: cols }, (_, col) => values[row * cols + col] as number),
  );
const ORDERINGS = ['none', 'descending', 'within-groups'] as const;
const GROUPINGS = ['by-position', 'static', 'by-column'] as const;

/** The library's result, in the form of the reference's. */
function quantize(weight: Matrix, hessian: Matrix, options: PlainOptions) {
  const [n, k] = [weight.length, hessian.length];
  return device.scope(() => {
    const h = tensorOf(device, 'f32', [k, k], hessian.flat());
    const w = tensorOf(device, 'f32', [n, k], weight.flat());
    const groupSize = options.groupSize || k;
    const ordering = ORDERINGS[options.ordering] ?? 'none';
    const factor = ops.gptqFactor(h, { ordering, groupSize, damp: options.damp });
    const { bits, sym, mse } = options;
    const grouping = GROUPINGS[options.grouping] ?? 'by-position';
    const size = options.groupSize === 0 ? {} : { groupSize };
    const result = ops.gptqQuantize(w, factor, { bits: bits as 2, sym, mse, grouping, ...size });
    const groups = result.scales.shape[1] as number;
    return {
      codes: matrixOf(numbersOf(result.codes), k),
      scales: matrixOf(numbersOf(result.scales), groups),
      zeros: matrixOf(numbersOf(result.zeros), groups),
      loss: numbersOf(result.loss),
      order: numbersOf(factor.order),
      factor: matrixOf(numbersOf(factor.factor), k),
      used: numbersOf(factor.used)[0] as number,
      dead: numbersOf(factor.dead),
      weight: matrixOf(numbersOf(w), k),
    };
  });
}

describe('the worked example', () => {
  const x = [
    [1, 0.5, 0, 0.2],
    [0.4, 1, 0.3, 0],
    [0, 0.2, 1, 0.6],
    [0.8, 0.1, 0.5, 1],
  ];
  const weight = [
    [0.9, -0.4, 0.3, 0.1],
    [-0.2, 0.7, -0.5, 0.6],
  ];
  const options = {
    bits: 3,
    groupSize: 0,
    sym: false,
    grouping: 0,
    mse: 0,
    damp: 0.01,
    ordering: 0,
  };
  const hessian = [
    [3.6, 1.96, 1.04, 2],
    [1.96, 2.6, 1.1, 0.64],
    [1.04, 1.1, 2.68, 2.2],
    [2, 0.64, 2.2, 2.8],
  ];

  test('Hessian, in one batch and in two', () => {
    device.scope(() => {
      const close = (h: number[]) => {
        for (const [i, value] of h.entries())
          expect(value).toBeCloseTo(hessian.flat()[i] as number, 5);
      };
      const whole = device.empty('f32', [4, 4]);
      ops.gptqHessian(whole, tensorOf(device, 'f32', [4, 4], x.flat()), { keep: 0, scale: 2 });
      close(numbersOf(whole));
      const halves = device.empty('f32', [4, 4]);
      const part = (rows: number[][]) => tensorOf(device, 'f32', [2, 4], rows.flat());
      // The mean over 2 rows, then over 4; times 4 it is the sum.
      ops.gptqHessian(halves, part(x.slice(0, 2)), { keep: 0, scale: 1 });
      ops.gptqHessian(halves, part(x.slice(2)), { keep: 0.5, scale: 0.5 });
      close(numbersOf(halves).map((value) => value * 4));
    });
  });

  test('factor, grids and codes', () => {
    const found = quantize(weight, hessian, options);
    const close = (actual: readonly number[], expected: number[]) => {
      for (const [i, value] of expected.entries())
        expect(Math.abs((actual[i] as number) - value)).toBeLessThan(1e-5);
    };
    close(
      found.factor.map((row, i) => row[i] as number),
      [1.5999789, 0.6866307, 1.0007664, 0.5945223],
    );
    close(found.factor[0] as number[], [1.5999789, -1.3716556, 1.653049, -2.1061805]);
    close(found.scales.flat(), [0.1857143, 0.1714286]);
    expect(found.zeros).toEqual([[2], [3]]);
    expect(found.codes).toEqual([
      [7, 0, 4, 2],
      [2, 7, 0, 6],
    ]);
    const cost = found.weight.map((row, r) => {
      const error = row.map((value, i) => value - ((weight[r] as number[])[i] as number));
      return error.reduce(
        (sum, a, i) =>
          sum + error.reduce((s, b, j) => s + a * b * ((hessian[i] as number[])[j] as number), 0),
        0,
      );
    });
    close(cost, [0.0121551, 0.0197469]);
    const { order } = quantize(weight, hessian, { ...options, ordering: 1 });
    expect(order).toEqual([0, 3, 2, 1]);
  });

  test('rounding to nearest', () => {
    device.scope(() => {
      const w = tensorOf(device, 'f32', [2, 4], weight.flat());
      const { codes, zeros } = ops.gptqQuantize(w, undefined, { bits: 3, sym: false });
      expect(numbersOf(codes)).toEqual([7, 0, 4, 3, 2, 7, 0, 7]);
      expect(numbersOf(zeros)).toEqual([2, 3]);
    });
  });
});

/** Weight, and a Hessian of correlated inputs of very different sizes. */
function randomLayer(n: number, k: number, dead: readonly number[] = []) {
  const rows = 3 * k;
  const noise = normals(rows * k, k);
  const x = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: k }, (_, col) => {
      const own = noise[row * k + col] as number;
      const neighbour = noise[row * k + ((col * 7) % k)] as number;
      return dead.includes(col) ? 0 : (own + 0.7 * neighbour) * (0.3 + ((col * 13) % 11));
    }),
  );
  const hessian = Array.from({ length: k }, (_, i) =>
    Array.from({ length: k }, (_, j) => {
      let sum = 0;
      for (const row of x) sum += (row[i] as number) * (row[j] as number);
      return Math.fround((2 * sum) / rows);
    }),
  );
  const weight = matrixOf(normals(n * k, n + k).map(Math.fround), k);
  return { weight, hessian };
}

/**
 * Codes must be the same up to the first tie of a row: what is within rounding of a half may go
 * either way, and everything after it follows.
 */
function expectCodes(found: ReturnType<typeof quantize>, plain: PlainResult): void {
  let ties = 0;
  expect(found.order).toEqual(plain.order);
  for (const [row, codes] of plain.codes.entries()) {
    const first = plain.order.find((column) => found.codes[row]?.[column] !== codes[column]);
    if (first === undefined) {
      expect(found.zeros[row]).toEqual(plain.zeros[row]);
      for (const [g, scale] of (plain.scales[row] as number[]).entries()) {
        expect(Math.abs((found.scales[row]?.[g] as number) / scale - 1)).toBeLessThan(1e-4);
      }
      expect(Math.abs((found.loss[row] as number) / (plain.loss[row] as number) - 1)).toBeLessThan(
        1e-3,
      );
      continue;
    }
    ties++;
    expect(plain.margins[row]?.[first]).toBeLessThan(1e-3);
  }
  expect(ties).toBeLessThanOrEqual(plain.codes.length / 8);
}

describe('as a plain implementation in double precision', () => {
  const base = { bits: 4, groupSize: 32, sym: true, grouping: 0, mse: 0, damp: 0.01, ordering: 0 };

  test.each<[string, Partial<PlainOptions>]>([
    ['2 bits', { bits: 2 }],
    ['3 bits, asymmetric', { bits: 3, sym: false }],
    ['4 bits', {}],
    ['8 bits, asymmetric', { bits: 8, sym: false }],
    ['one grid per row', { groupSize: 0, sym: false }],
    ['groups of 128', { groupSize: 128 }],
    ['a tail group', { groupSize: 48, bits: 3 }],
    ['act-order', { ordering: 1 }],
    ['act-order, one grid per row', { ordering: 1, groupSize: 0 }],
    ['act-order, static groups', { ordering: 1, grouping: 1, sym: false }],
    ['static groups', { grouping: 1 }],
    ['group-aware order', { ordering: 2, grouping: 2 }],
    ['group-aware order with a tail', { ordering: 2, grouping: 2, groupSize: 48 }],
    ['range search', { mse: 2.4, bits: 3, sym: false }],
    ['range and zero point search', { mse: 2.4, bits: 2, sym: false }],
    ['more damping', { damp: 0.1, bits: 2 }],
  ])('%s', (_, change) => {
    const { weight, hessian } = randomLayer(24, 160);
    const options = { ...base, ...change };
    expectCodes(quantize(weight, hessian, options), plainGptq(weight, hessian, options));
  });

  test('several blocks', () => {
    const { weight, hessian } = randomLayer(9, 320);
    const options = { ...base, groupSize: 64, bits: 3, ordering: 1 };
    expectCodes(quantize(weight, hessian, options), plainGptq(weight, hessian, options));
  });

  test('dead inputs, whose weights become 0 but count for a grid of the whole row', () => {
    const { weight, hessian } = randomLayer(8, 64, [3, 40]);
    (weight[0] as number[])[3] = 50;
    for (const groupSize of [0, 32]) {
      const options = { ...base, groupSize };
      const found = quantize(weight, hessian, options);
      expect(found.dead.flatMap((dead, i) => (dead ? [i] : []))).toEqual([3, 40]);
      expect(found.weight[0]?.[3]).toBe(0);
      expect(found.weight[5]?.[40]).toBe(0);
      expectCodes(found, plainGptq(weight, hessian, options));
      const scale = found.scales[0]?.[0] as number;
      if (groupSize) expect(scale).toBeLessThan(1);
      else expect(scale).toBeCloseTo(100 / 15, 4);
    }
  });

  test('the factor itself', () => {
    const { weight, hessian } = randomLayer(1, 96);
    const mean = hessian.reduce((sum, row, i) => sum + (row[i] as number), 0) / 96;
    const damped = hessian.map((row, i) => row.map((v, j) => (i === j ? v + 0.01 * mean : v)));
    const expected = upperCholesky(inverse(damped));
    const { factor, used } = quantize(weight, hessian, base);
    expect(used).toBeCloseTo(0.01);
    const largest = Math.max(...expected.flat().map(Math.abs));
    for (const [i, row] of expected.entries()) {
      for (const [j, value] of row.entries()) {
        expect(Math.abs(((factor[i] as number[])[j] as number) - value) / largest).toBeLessThan(
          1e-6,
        );
      }
    }
  });
});

describe('damping', () => {
  const options = {
    bits: 4,
    groupSize: 0,
    sym: true,
    grouping: 0,
    mse: 0,
    damp: 0.01,
    ordering: 0,
  };
  const identity = (k: number) =>
    matrixOf(
      Float64Array.from({ length: k * k }, (_, i) => (i % (k + 1) ? 0 : 1)),
      k,
    );

  test('is raised until the Hessian is positive definite', () => {
    const hessian = identity(8);
    (hessian[0] as number[])[1] = 1.2;
    (hessian[1] as number[])[0] = 1.2;
    const { used } = quantize(matrixOf(normals(16, 1), 8), hessian, options);
    expect(used).toBeGreaterThan(0.2);
    expect(used).toBeLessThan(0.22);
  });

  test.each([
    ['never is', 5],
    ['holds a NaN', Number.NaN],
  ])('gives up on a Hessian that %s: codes are rounded to nearest', (_, value) => {
    const hessian = identity(8);
    (hessian[0] as number[])[1] = value;
    (hessian[1] as number[])[0] = value;
    const weight = matrixOf(normals(16, 1), 8);
    const { used, codes } = quantize(weight, hessian, options);
    expect(used).toBe(-1);
    device.scope(() => {
      const w = tensorOf(device, 'f32', [2, 8], weight.flat());
      const nearest = ops.gptqQuantize(w, undefined, { bits: 4, sym: true });
      expect(codes.flat()).toEqual(numbersOf(nearest.codes));
    });
  });

  test('with inputs that are all 0', () => {
    const { used, codes } = quantize(
      matrixOf(normals(16, 1), 8),
      matrixOf(new Float64Array(64), 8),
      options,
    );
    expect(used).toBeCloseTo(0.01);
    expect(new Set(codes.flat())).toEqual(new Set([8]));
  });
});
