import { Device, type DeviceName } from '../../lib/device';
import type { DType } from '../../lib/native';
import * as ops from '../../lib/ops';
import { numbersOf, tensorOf } from '../support/tensors';

const X = [2, -45, -1, 0.5, 5, 3];
const WEIGHT = [0.5, 0.25, 1, -1, 0.5, 0.75];

/** What each mode gives in real arithmetic, before any rounding to 16 bits. */
const MODES = {
  paper: {
    scales: [2, 3],
    codes: [127, 0, -64, 21, 0, 127],
    sums: [0, -22209, 17473, 9398],
    outlierWeights: [0.25, 0.5],
    outputs: [-11.25, -25.25392, 4.49998, 4.24803],
  },
  bitsandbytes: {
    scales: [2, 5],
    codes: [127, 0, -64, 13, 0, 76],
    sums: [0, -22209, 10484, 5569],
    outlierWeights: [0.2519685, 0.503937],
    outputs: [-11.33858, -25.43109, 4.50989, 4.24608],
  },
} as const;

const padded = (rows: number, cols: number, codes: readonly number[]): Float64Array => {
  const data = new Float64Array(ops.alignInt8(rows) * ops.alignInt8(cols));
  codes.forEach((code, i) => {
    data[Math.floor(i / cols) * ops.alignInt8(cols) + (i % cols)] = code;
  });
  return data;
};

/** The first `cols` of every row of `width` codes. */
const cropped = (codes: readonly number[], width: number, cols: number): number[] =>
  codes.filter((_, i) => i % width < cols);

/**
 * A small case worked by hand: X 2 x 3 with the outlier column 1, W 2 x 3, threshold 6. A product
 * of -63.5 in it shows that halves round to even.
 */
export function llmInt8Example(name: DeviceName, hidden: DType): void {
  let device: Device;
  beforeAll(() => {
    device = Device.open(name);
  });
  afterAll(() => device?.dispose());

  const int8Weight = () => {
    const weight = tensorOf(device, hidden, [2, 3], WEIGHT);
    const codes = device.empty('i8', [16, 16]);
    codes.write(new Int8Array(256));
    const scales = device.empty('f32', [2]);
    device.run('int8_quantize', [weight, codes, scales, undefined, undefined, undefined], [0, 0]);
    return { codes, scales };
  };

  test('codes and scales of the weight', () => {
    device.scope(() => {
      const { codes, scales } = int8Weight();
      expect(cropped(numbersOf(codes), 16, 3).slice(0, 6)).toEqual([64, 32, 127, -127, 64, 95]);
      expect(numbersOf(scales)).toEqual([1, 1]);
    });
  });

  describe.each(['paper', 'bitsandbytes'] as const)('%s mode', (mode) => {
    const expected = MODES[mode];

    test('codes, scales and the outlier column of the input', () => {
      device.scope(() => {
        const x = tensorOf(device, hidden, [2, 3], X);
        const input = ops.int8Quantize(x, { threshold: 6, mode });
        expect(numbersOf(input.scales)).toEqual(expected.scales);
        expect(cropped(numbersOf(input.codes), 16, 3)).toEqual(expected.codes);
        expect(numbersOf(input.count as never)).toEqual([1]);
        expect(numbersOf(input.columns as never)[0]).toBe(1);
      });
    });

    test('int32 sums', () => {
      device.scope(() => {
        const { codes } = int8Weight();
        const unit = tensorOf(device, 'f32', [2], [127, 127]);
        const input = {
          x: tensorOf(device, hidden, [2, 3], X),
          codes: tensorOf(device, 'i8', [16, 16], padded(2, 3, expected.codes)),
          scales: unit,
        };
        const out = ops.linearInt8(input, { codes, scales: unit }, { mode: 'paper', dtype: 'f32' });
        expect(numbersOf(out).map(Math.round)).toEqual(expected.sums.map((sum) => sum + 0));
      });
    });

    test('outputs', () => {
      device.scope(() => {
        const x = tensorOf(device, hidden, [2, 3], X);
        const keeps = mode === 'paper' && {
          keptSlots: tensorOf(device, 'i32', [3], [-1, 0, -1]),
          kept: tensorOf(device, hidden, [1, 2], [0.25, 0.5]),
        };
        const input = ops.int8Quantize(x, { threshold: 6, mode });
        const weight = { ...int8Weight(), ...keeps };
        const out = numbersOf(ops.linearInt8(input, weight, { mode, dtype: 'f32' }));
        // The table, from what the device found: sums, scales and weights of the outlier column.
        const real = expected.sums.map((sum, i) => {
          const outlier = X[i < 2 ? 1 : 4] as number;
          const scale = expected.scales[i < 2 ? 0 : 1] as number;
          return (sum * scale) / 127 ** 2 + outlier * (expected.outlierWeights[i % 2] as number);
        });
        for (const [i, value] of out.entries()) {
          expect(real[i]).toBeCloseTo(expected.outputs[i] as number, 4);
          // Only bitsandbytes' mode rounds to fp16 on the way: its weights, products and sums.
          const slack = mode === 'paper' ? 1e-5 : 2 ** -10 * Math.abs(real[i] as number);
          expect(Math.abs(value - (expected.outputs[i] as number))).toBeLessThan(slack);
        }
      });
    });
  });

  test('paper mode without kept columns takes the int8 weights', () => {
    device.scope(() => {
      const input = ops.int8Quantize(tensorOf(device, hidden, [2, 3], X), {
        threshold: 6,
        mode: 'paper',
      });
      const out = numbersOf(ops.linearInt8(input, int8Weight(), { mode: 'paper', dtype: 'f32' }));
      const [, second] = MODES.paper.sums.map((sum) => (sum * 2) / 127 ** 2);
      expect(out[0]).toBeCloseTo((-45 * 32) / 127, 4);
      expect(out[1]).toBeCloseTo((second as number) - (45 * 64) / 127, 4);
    });
  });
}
