import { Device } from '../../lib/device';
import * as ops from '../../lib/ops';
import type { Tensor } from '../../lib/tensor';
import { nmse } from '../support/compare';
import { describeGpu } from '../support/gpu';
import { normals, numbersOf, tensorOf } from '../support/tensors';

const [N, K, ROWS] = [80, 400, 640];

interface Options {
  bits: ops.GptqBits;
  sym: boolean;
  groupSize?: number | undefined;
  ordering: ops.GptqOrdering;
  grouping: ops.GptqGrouping;
  mse: number;
}

/** Inputs of very different sizes, each correlated with another one; input 3 is always 0. */
function inputs(): Float64Array {
  const noise = normals(ROWS * K, 1);
  return noise.map((own, i) => {
    const col = i % K;
    if (col === 3) return 0;
    const neighbour = noise[i - col + ((col * 7) % K)] as number;
    return (own + 0.7 * neighbour) * (0.3 + ((col * 13) % 11) / 4);
  });
}

describeGpu('the GPTQ quantizer on CUDA, as on the CPU', () => {
  let cpu: Device;
  let cuda: Device;
  let weight: Float64Array;
  let hessian: number[];
  beforeAll(() => {
    cpu = Device.open('cpu');
    cuda = Device.open('cuda');
    weight = normals(N * K, 2, 0.02);
    hessian = cuda.scope(() => {
      const h = cuda.empty('f32', [K, K]);
      const x = tensorOf(cuda, 'f16', [ROWS, K], inputs());
      ops.gptqHessian(h, x, { keep: 0, scale: 2 / ROWS });
      return numbersOf(h);
    });
  });
  afterAll(() => {
    cuda?.dispose();
    cpu?.dispose();
  });

  test('the Hessian of 16-bit inputs', () => {
    cpu.scope(() => {
      const h = cpu.empty('f32', [K, K]);
      const x = cpu.scope(() => ops.cast(tensorOf(cpu, 'f16', [ROWS, K], inputs()), 'f32'));
      ops.gptqHessian(h, x, { keep: 0, scale: 2 / ROWS });
      expect(nmse(hessian, numbersOf(h))).toBeLessThan(1e-11);
    });
  });

  function quantize(device: Device, options: Options) {
    const { bits, sym, groupSize, ordering, grouping, mse } = options;
    return device.scope(() => {
      const h = tensorOf(device, 'f32', [K, K], hessian);
      const w = tensorOf(device, 'f32', [N, K], weight);
      const factor = ops.gptqFactor(h, { ordering, groupSize: groupSize ?? K, damp: 0.01 });
      const result = ops.gptqQuantize(w, factor, { bits, sym, groupSize, grouping, mse });
      const all = { ...factor, ...result, w };
      return Object.fromEntries(
        Object.entries(all).map(([name, tensor]: [string, Tensor]) => [name, numbersOf(tensor)]),
      ) as Record<keyof typeof all, number[]>;
    });
  }

  /** Rows in which any of the numbers differs. */
  const changedRows = (a: number[], b: number[]): number[] => {
    const cols = a.length / N;
    return Array.from({ length: N }, (_, row) => row).filter((row) =>
      a.slice(row * cols, (row + 1) * cols).some((value, i) => value !== b[row * cols + i]),
    );
  };

  const base: Options = {
    bits: 4,
    sym: true,
    groupSize: 128,
    ordering: 'none',
    grouping: 'by-position',
    mse: 0,
  };

  // Both factors are computed in double precision, so that they agree but for the last bit of a few
  // elements. A weight that lies that close to a tie may be rounded the other way, and then the rest
  // of its row may be, too: one row in forty is allowed.
  test.each<[string, Partial<Options>]>([
    ['4 bits in groups of 128', {}],
    ['2 bits, asymmetric, groups inside a block', { bits: 2, sym: false, groupSize: 32 }],
    ['3 bits, one grid per row', { bits: 3, sym: false, groupSize: undefined }],
    ['8 bits, groups across blocks', { bits: 8, sym: false, groupSize: 200 }],
    ['act-order', { ordering: 'descending' }],
    ['act-order with static groups', { ordering: 'descending', grouping: 'static' }],
    ['group-aware order', { ordering: 'within-groups', grouping: 'by-column', groupSize: 64 }],
    ['range search', { bits: 3, mse: 2.4, sym: false, groupSize: 64 }],
  ])('%s', (_, change) => {
    const options = { ...base, ...change };
    const [found, expected] = [quantize(cuda, options), quantize(cpu, options)];
    for (const name of ['order', 'dead', 'used'] as const) {
      expect(found[name]).toEqual(expected[name]);
    }
    expect(nmse(found.factor, expected.factor)).toBeLessThan(1e-13);
    const changed = changedRows(found.codes, expected.codes);
    expect(changed.length).toBeLessThanOrEqual(N / 40);
    for (const name of ['scales', 'zeros', 'w'] as const) {
      expect(changedRows(found[name], expected[name]).every((row) => changed.includes(row))).toBe(
        true,
      );
    }
    expect(nmse(found.loss, expected.loss)).toBeLessThan(1e-4);
  });

  test.each([
    ['not positive definite without more damping', 1.2, 0.21],
    ['never positive definite', 5, -1],
    ['not finite', Number.NaN, -1],
  ])('a Hessian that is %s', (_, value, used) => {
    const bad: number[] = Array.from({ length: K * K }, (_, i) => (i % (K + 1) ? 0 : 1));
    bad[1] = bad[K] = value;
    cuda.scope(() => {
      const h = tensorOf(cuda, 'f32', [K, K], bad);
      const made = ops.gptqFactor(h, { ordering: 'none', groupSize: K, damp: 0.01 });
      expect(numbersOf(made.used)[0]).toBeCloseTo(used, 5);
      const factor = numbersOf(made.factor);
      if (used < 0) expect(factor.every((v, i) => v === (i % (K + 1) ? 0 : 1))).toBe(true);
      const nearest = tensorOf(cuda, 'f32', [N, K], weight);
      const corrected = tensorOf(cuda, 'f32', [N, K], weight);
      const grid = { bits: 4, sym: true, groupSize: 128 } as const;
      const codes = numbersOf(ops.gptqQuantize(corrected, made, grid).codes);
      const plain = numbersOf(ops.gptqQuantize(nearest, undefined, grid).codes);
      expect(codes.every((code, i) => code === plain[i])).toBe(used < 0);
    });
  });

  test('32-bit inputs are refused with what to do about it', () => {
    cuda.scope(() => {
      const h = cuda.empty('f32', [8, 8]);
      const x = cuda.empty('f32', [2, 8]);
      expect(() => ops.gptqHessian(h, x, { keep: 0, scale: 1 })).toThrow(/f16 or bf16.*cast/);
    });
  });
});
