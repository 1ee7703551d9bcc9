import { Device } from '../../lib/device';
import {
  type AffineActivationBits,
  type AffineWeightBits,
  affinePlaneBytes,
  affineQuantize,
  affineRepack,
  gptqLowWidth,
  gptqPlaneBytes,
  linearAffine,
  normQuantize,
  normReorder,
} from '../../lib/ops';
import type { Tensor } from '../../lib/tensor';
import { planeShift } from '../support/reference/gptq';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu');
});
afterAll(() => device.dispose());

const f32 = (shape: number[], values: readonly number[]): Tensor =>
  device.from('f32', shape, Float32Array.from(values));
const i32 = (values: readonly number[]): Tensor =>
  device.from('i32', [values.length], Int32Array.from(values));

/** Codes of values that all have one grid. */
function codesOf(
  values: readonly number[],
  { scale, zero }: { scale: number; zero: number },
  bits: AffineActivationBits,
): number[] {
  return device.scope(() => {
    const ones = values.map(() => 1);
    const grid = f32([2, values.length], [...ones.map(() => scale), ...ones.map(() => zero)]);
    const { codes } = affineQuantize(f32([1, values.length], values), { grid, bits });
    return Array.from(codes.read() as Int8Array | Uint8Array);
  });
}

// The grids that RPTQ's reference implementation finds for [-1, 3] in 4 bits and [10, 11] in 8.
test('codes are those of the reference implementation', () => {
  expect(codesOf([10.5, 10, 11, 0], { scale: 1 / 256, zero: -2688 }, 8)).toEqual([
    0, -128, 127, -128,
  ]);
  const nibbles = codesOf([-1, 0, 0.375, 3], { scale: 0.25, zero: -4 }, 4);
  // -8, -4, -2 and 7: two in a byte, the first one low.
  expect(nibbles).toEqual([0xc8, 0x7e]);
});

test('ties go to the even step, whatever the zero point', () => {
  const halves = [-1.5, -0.5, 0.5, 1.5, 2.5];
  expect(codesOf(halves, { scale: 1, zero: 0 }, 8)).toEqual([-2, 0, 0, 2, 2]);
  expect(codesOf(halves, { scale: 1, zero: 1 }, 8)).toEqual([-1, 1, 1, 3, 3]);
});

test('a NaN has the code 0, infinities the ends', () => {
  expect(codesOf([NaN, Infinity, -Infinity], { scale: 1, zero: 5 }, 8)).toEqual([0, 127, -128]);
});

test('a norm writes its output in the order that is given, and codes on the grid of the place', () => {
  device.scope(() => {
    const [x, weight, order] = [f32([1, 4], [3, -3, 3, -3]), f32([4], [1, 2, 3, 4]), [2, 0, 3, 1]];
    const norm = { centered: true, weight, eps: 0 };
    expect(Array.from(normReorder(x, norm, i32(order)).read() as Float32Array)).toEqual([
      3, 1, -4, -2,
    ]);
    const grid = f32([2, 4], [0.5, 1, 2, 0.25, 0, 1, -1, 100]);
    const { codes } = normQuantize(x, norm, { grid, bits: 8, order: i32(order) });
    expect(Array.from(codes.read() as Int8Array)).toEqual([6, 2, -3, 92]);
  });
});

// A chunk whose only codes that are not 0 are at positions 0, 5, 18 and 127, worked out by hand.
test('weights lie in memory as the layout says', () => {
  device.scope(() => {
    const row = new Uint8Array(128);
    for (const [position, code] of [
      [0, 3],
      [5, 9],
      [18, 15],
      [127, 12],
    ] as const) {
      row[position] = code;
    }
    const { codes } = affineRepack({ codes: packedGptq([row], 4) }, { bits: 4, positions: 128 });
    const bytes = Array.from(codes.read() as Uint8Array);
    expect(bytes.map((value, at) => [at, value]).filter(([, value]) => value !== 0)).toEqual([
      [0, 3],
      [2, 15 << 4],
      [17, 9],
      [63, 12 << 4],
    ]);
  });
});

/** Codes as `gptq_repack` leaves them (src/ops/gptq_layout.h); those of 3 bits in one plane only. */
function packedGptq(rows: readonly Uint8Array[], width: number, shift = 0): Tensor {
  const bytes = rows.map((row) => {
    const perWord = 32 / width;
    const words = new Uint32Array((gptqPlaneBytes(row.length, width) * 8) / 32);
    for (const [p, code] of row.entries()) {
      const at = Math.floor(p / perWord);
      const field = (code >> shift) & (2 ** width - 1);
      words[at] = ((words[at] as number) | (field << planeShift(p % perWord, width))) >>> 0;
    }
    return Array.from(new Uint8Array(words.buffer));
  });
  const [first] = bytes as [number[]];
  return device.from('u8', [rows.length, first.length], Uint8Array.from(bytes.flat()));
}

/** Numbers that look random, the same every time. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

// W' = W s and bias' = bias - sum W' z: with them the product of codes is that of what they stand for.
test.each([
  [4, 8, 32],
  [4, 4, 64],
  [3, 8, 128],
  [3, 4, 32],
  [8, 8, 64],
] as const)('W%iA%i in groups of %i multiplies what the codes stand for', (bits, xBits, size) => {
  device.scope(() => {
    const [m, n, k] = [3, 5, 160];
    const next = sequence(bits * 100 + size);
    const list = (count: number, low: number, high: number) =>
      Array.from({ length: count }, () => low + (high - low) * next());
    const x = list(m * k, -2, 3);
    const scales = list(k, 0.05, 0.5);
    const zeros = list(k, -300, 20).map(Math.round);
    const groups = Math.ceil(k / size);
    const steps = list(n * groups, 0.01, 0.1);
    const offsets = list(n * groups, 0, 2 ** bits - 0.5).map((v) =>
      bits === 8 ? 128 : Math.floor(v),
    );
    const rows = Array.from({ length: n }, () =>
      Uint8Array.from(list(k, 0, 2 ** bits - 0.01).map(Math.floor)),
    );
    const bias = list(n, -1, 1);
    const folded = (row: number, column: number): number => {
      const group = row * groups + Math.floor(column / size);
      const code = (rows[row] as Uint8Array)[column] as number;
      return Math.fround(steps[group] as number) * (code - (offsets[group] as number));
    };
    const corrected = bias.map((value, row) =>
      scales.reduce(
        (sum, _, column) => sum - folded(row, column) * (zeros[column] as number),
        value,
      ),
    );

    const grid = f32([2, k], [...scales, ...zeros]);
    const input = affineQuantize(f32([m, k], x), { grid, bits: xBits });
    const planes = affineRepack(
      {
        codes: packedGptq(rows, gptqLowWidth(bits)),
        high: bits === 3 ? packedGptq(rows, 1, 2) : undefined,
      },
      { bits: bits as AffineWeightBits, positions: k },
    );
    const weight = {
      ...planes,
      bits: bits as AffineWeightBits,
      groupSize: size,
      scales: f32([n, groups], steps),
      zeros: bits === 8 ? undefined : device.from('u8', [n, groups], Uint8Array.from(offsets)),
      bias: f32([n], corrected),
    };
    const out = Array.from(linearAffine(input, weight).read() as Float32Array);

    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let expected = bias[j] as number;
        for (let p = 0; p < k; p++) {
          const scale = Math.fround(scales[p] as number);
          const steps = Math.round(Math.fround(Math.fround(x[i * k + p] as number) / scale));
          const most = 2 ** (xBits - 1);
          const code = Math.min(Math.max(steps + (zeros[p] as number), -most), most - 1);
          expected += folded(j, p) * (code - (zeros[p] as number));
        }
        expect(Math.abs((out[i * n + j] as number) - expected)).toBeLessThan(
          1e-5 * (1 + Math.abs(corrected[j] as number)),
        );
      }
    }
  });
});

test('what does not fit is named', () => {
  device.scope(() => {
    const x = f32([1, 33], Array<number>(33).fill(0));
    const grid = f32([2, 33], Array<number>(66).fill(1));
    expect(() => affineQuantize(x, { grid, bits: 4 })).toThrow(/pairs|whole/);
    const even32 = f32([1, 96], Array<number>(96).fill(0));
    const grid96 = f32([2, 96], Array<number>(192).fill(1));
    for (const rotation of [64, 48, 4, 512]) {
      expect(() => affineQuantize(even32, { grid: grid96, bits: 4, rotation })).toThrow(
        /rotation must be 0, or a power of two from 8 to 256 that divides the columns/,
      );
    }
    const order = i32(Array.from({ length: 96 }, (_, i) => i));
    expect(() => affineQuantize(even32, { grid: grid96, bits: 4, rotation: 32, order })).toThrow(
      /a rotation takes no order/,
    );
    expect(() => normReorder(x, { centered: false, eps: 1e-5 }, i32([0, 33]))).toThrow(
      /norm_quantize: order\[1\]/,
    );
    const { codes } = affineQuantize(x, { grid, bits: 8 });
    const weight = (bits: AffineWeightBits, groupSize: number) => ({
      bits,
      groupSize,
      codes: device.empty(bits === 8 ? 'i8' : 'u8', [2, affinePlaneBytes(33, bits)]),
      scales: f32([2, 2], [1, 1, 1, 1]),
    });
    const input = { codes, bits: 8, dtype: 'f32' } as const;
    expect(() => linearAffine(input, weight(8, 32))).toThrow(
      /columns of x must be a multiple of 32/,
    );
    expect(() => linearAffine(input, weight(8, 20))).toThrow(/group_size must be a multiple of 32/);
    const even = { ...input, codes: device.empty('i8', [1, 64]) };
    expect(() => linearAffine(even, weight(4, 32))).toThrow(/zeros belong to 3 and 4 bits/);
  });
});
