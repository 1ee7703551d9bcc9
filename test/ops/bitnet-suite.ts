import { Device, type DeviceName } from '../../lib/device';
import type { DType } from '../../lib/native';
import * as ops from '../../lib/ops';
import { exactBitnetCases } from '../cases/bitnet';
import { packQuarters, packTernary, ternaryMatrix, unpackTernary } from '../support/bitnet';
import { expectedOutputs } from '../support/reference';
import { runCase } from '../support/run-case';
import { numbersOf, tensorOf } from '../support/tensors';

/** What the ops on BitNet weights promise beyond the tolerance of floats, on any back end. */
export function bitnetSuite(name: DeviceName, hidden: DType): void {
  let device: Device;
  beforeAll(() => {
    device = Device.open(name);
  });
  afterAll(() => device?.dispose());

  const repacked = (packed: Uint8Array, k: number) => {
    const n = (packed.length / k) * 4;
    const weight = device.empty('u8', [n, ops.bitnetRowBytes(k)]);
    const invalid = device.from('i32', [1], new Int32Array(1));
    device.run('bitnet_repack', [device.from('u8', [n / 4, k], packed), weight, invalid]);
    return { bytes: numbersOf(weight), invalid: numbersOf(invalid)[0] };
  };

  test.each(exactBitnetCases.map((opCase) => [opCase.name, opCase] as const))('%s', (_, opCase) => {
    const dtypes = { hidden, weight: hidden };
    const { out } = runCase(device, opCase, dtypes);
    expect(out).toEqual(expectedOutputs(opCase, dtypes).out);
  });

  test('eight rows in quarters, and code 3', () => {
    const rows = [-1, 0, 1, 1, 0, -1, 1, 0];
    expect([...packQuarters(rows, 1)]).toEqual([0x98, 0x49]);
    device.scope(() => {
      const { bytes, invalid } = repacked(Uint8Array.of(0x98, 0x49), 1);
      expect([...unpackTernary(bytes, 1)]).toEqual(rows);
      expect(invalid).toBe(0);
      expect(repacked(Uint8Array.of(0x98, 0xc9), 1).invalid).toBe(1);
    });
  });

  test('sixteen columns in a word', () => {
    const columns = [-1, 0, 1, 1, 0, 0, -1, 1, 1, 1, -1, 0, 0, -1, 1, 0];
    const [word] = new Uint32Array(packTernary(columns, 16).buffer);
    expect(word).toBe(0x5a822564);
    device.scope(() => {
      const w = tensorOf(device, hidden, [1, 16], columns);
      const weight = device.empty('u8', [1, 16]);
      const gamma = device.from('f32', [1], Float32Array.of(1));
      device.run('bitnet_ternarize', [w, gamma, weight]);
      expect(new Uint32Array(Uint8Array.from(numbersOf(weight)).buffer)[0]).toBe(0x5a822564);
    });
  });

  test.each([4, 8, 640, 6912])('%i rows come back from their packed form', (n) => {
    const k = 80;
    const ternary = ternaryMatrix(n, n, k);
    device.scope(() => {
      const { bytes, invalid } = repacked(packQuarters(ternary, k), k);
      expect(unpackTernary(bytes, k)).toEqual(ternary);
      expect(invalid).toBe(0);
    });
  });

  test.each([1, 3, 9, 40, 300])('%i rows are added to a residual in place', (m) => {
    const [n, k] = [136, 200];
    device.scope(() => {
      const codes = device.from(
        'u8',
        [n, ops.bitnetRowBytes(k)],
        packTernary(ternaryMatrix(1, n, k), k),
      );
      const scales = ops.fillRandom(device.empty('f32', [n]), 2);
      const x = ops.fillRandom(device.empty(hidden, [m, k]), 3);
      const residual = ops.fillRandom(device.empty(hidden, [m, n]), 4);
      const weight = { codes, scales };
      const apart = numbersOf(ops.bitLinear(x, weight, {}, { residual }));
      expect(apart).not.toEqual(numbersOf(residual));
      ops.bitLinear(x, weight, {}, { residual, into: residual });
      expect(numbersOf(residual)).toEqual(apart);
    });
  });

  test('a weight and its input, worked by hand', () => {
    device.scope(() => {
      const w = tensorOf(device, hidden, [1, 4], [0.125, -0.5, 0.375, 0]);
      const gamma = device.empty('f32', [1]);
      const weight = device.empty('u8', [1, 16]);
      device.run('bitnet_absmean', [w, gamma]);
      device.run('bitnet_ternarize', [w, gamma, weight]);
      expect(numbersOf(gamma)).toEqual([0.25]);
      expect([...unpackTernary(numbersOf(weight), 4)]).toEqual([0, -1, 1, 0]);

      const x = tensorOf(device, hidden, [2, 4], [0.5, -1, 0.25, 0, 0, 0, 0, 0]);
      const input = ops.bitnetQuantize(x);
      const codes = numbersOf(input.codes);
      expect([...codes.slice(0, 4)]).toEqual([64, -127, 32, 0]);
      expect([...codes.slice(4)].every((code) => code === 0)).toBe(true);
      expect([...numbersOf(input.sums)]).toEqual([-31, 0]);
      const y = ops.linearBitnet(input, { codes: weight, scales: gamma }, { dtype: 'f32' });
      const [first, second] = numbersOf(y);
      expect(first).toBeCloseTo((159 / 127) * 0.25, 6);
      expect(second).toBe(0);
    });
  });

  test('the norm divides out of the codes', () => {
    const row = (scale: number) => Array.from({ length: 300 }, (_, i) => ((i % 13) - 6) * scale);
    device.scope(() => {
      const norm = { weight: tensorOf(device, hidden, [300], row(0.5)), eps: 1e-5 };
      const quantized = (scale: number) => {
        const x = tensorOf(device, hidden, [1, 300], row(scale));
        return numbersOf(ops.bitnetQuantize(x, { norm }).codes);
      };
      expect(quantized(0.25)).toEqual(quantized(4));
      const x = tensorOf(device, hidden, [1, 300], row(0.25));
      const apart = ops.bitnetQuantize(ops.rmsNorm(x, norm.weight, { eps: norm.eps }));
      const [own, fused] = [numbersOf(apart.codes), quantized(0.25)];
      // The separate norm is rounded to the dtype of hidden states.
      expect(own.every((code, i) => Math.abs(code - (fused[i] as number)) <= 1)).toBe(true);
    });
  });

  test.each(['bitnet_quantize', 'linear_bitnet'])('%s refuses what does not fit', (op) => {
    device.scope(() => {
      const x = tensorOf(device, hidden, [2, 70], new Array(140).fill(1));
      const input = ops.bitnetQuantize(x);
      const run = (tensors: object, attrs: number[]) => {
        const all = { x, codes: input.codes, scales: input.scales, sums: input.sums, ...tensors };
        const { codes, scales, sums } = all;
        device.run('bitnet_quantize', [x, undefined, undefined, codes, scales, sums], attrs);
      };
      if (op === 'bitnet_quantize') {
        expect(() => run({ codes: device.empty('i8', [2, 70]) }, [0, 0])).toThrow(/codes/);
        expect(() => run({ sums: device.empty('i32', [1]) }, [0, 0])).toThrow(/rows of x/);
        expect(() => run({}, [2, 0])).toThrow(/needs up/);
        expect(() => run({}, [3, 0])).toThrow(/activation/);
        return;
      }
      const weight = { codes: device.empty('u8', [3, 16]), scales: device.empty('f32', [3]) };
      expect(() => ops.linearBitnet(input, weight)).toThrow(/weight must have shape \[3, 32\]/);
      const bias = device.empty('f32', [4]);
      const fitting = { codes: device.empty('u8', [3, 32]), scales: weight.scales, bias };
      expect(() => ops.linearBitnet(input, fitting)).toThrow(/bias/);
    });
  });
}
