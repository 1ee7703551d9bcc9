import { alignBitnet as align, bitnetRowBytes } from '../../lib/ops';
import { packQuarters, packTernary, ternaryMatrix } from '../support/bitnet';
import { hostTensor } from '../support/host-tensor';
import {
  type Fill,
  HALVES,
  input,
  integers,
  normal,
  ONE,
  type OpCase,
  output,
  update,
  values,
} from './op-case';

const { NaN: NOT_A_NUMBER, POSITIVE_INFINITY: INFINITE } = Number;

/** Exact int32 sums come out when all scales are 1. */
const UNIT = values(1);

interface LinearShape {
  m: number;
  n: number;
  k: number;
  bias?: boolean;
  relu?: boolean;
  wide?: boolean;
  scale?: Fill;
  codes?: Fill;
  ternary?: Int8Array;
  rowStride?: number;
}

export function linearBitnetCase(shape: LinearShape): OpCase {
  const { m, n, k, bias, relu, scale, rowStride } = shape;
  const fill: Fill = { ...(shape.codes ?? integers(m + k, -127, 127)), within: [m, k] };
  const codes = input('i8', [m, align(k)], fill);
  const { data } = hostTensor(codes, 'i8');
  const sums = Array.from({ length: m }, (_, row) =>
    data.subarray(row * align(k), (row + 1) * align(k)).reduce((sum, code) => sum + code, 0),
  );
  const packed = packTernary(shape.ternary ?? ternaryMatrix(n + k, n, k), k);
  const traits = [
    bias && 'bias',
    relu && 'relu',
    shape.wide && 'f32 out',
    rowStride && `rows ${rowStride} apart`,
    scale === UNIT && 'exact sums',
  ].filter(Boolean);
  return {
    name: [`linear_bitnet ${m} x ${n} x ${k}`, ...traits].join(', '),
    op: 'linear_bitnet',
    tensors: {
      codes,
      scales: input('f32', [m], scale ?? { ...normal(m), at: { 0: 0.03 } }),
      sums: input('i32', [m], values(...sums)),
      weight: input('u8', [n, bitnetRowBytes(k)], { kind: 'values', values: [...packed] }),
      weight_scales: input('f32', [n], scale ?? normal(n, 0.1)),
      bias: bias ? input('weight', [n], normal(n, 2)) : null,
      residual: null,
      out: {
        ...output(shape.wide || scale === UNIT ? 'f32' : 'hidden', [m, n]),
        ...(rowStride && { rowStride }),
      },
    },
    attrs: { activation: relu ? 1 : 0 },
    hidden: HALVES,
  };
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

const SIZES = [
  [1, 1, 1],
  [1, 7, 3],
  [2, 33, 17],
  [3, 16, 64],
  [7, 65, 63],
  [8, 5, 499],
  [9, 129, 65],
  [16, 17, 128],
  [17, 31, 96],
  [31, 3, 200],
  [33, 64, 4],
  [63, 9, 129],
  [65, 100, 33],
  [129, 40, 48],
  [257, 24, 320],
  [300, 150, 256],
] as const;

/** The expected output is the int32 sum, which every back end must give exactly. */
export const exactBitnetCases: readonly OpCase[] = [
  ...range(17).map((m) => linearBitnetCase({ m, n: 40 + m, k: 640, scale: UNIT })),
  ...SIZES.map(([m, n, k]) => linearBitnetCase({ m, n, k, scale: UNIT })),
  ...[2560, 3200, 4097, 6912, 8640].flatMap((k) =>
    [1, 5, 16, 64].map((m) => linearBitnetCase({ m, n: 21, k, scale: UNIT })),
  ),
  linearBitnetCase({
    m: 3,
    n: 2,
    k: 28672,
    codes: values(127),
    ternary: new Int8Array(2 * 28672).fill(1),
    scale: UNIT,
  }),
  linearBitnetCase({
    m: 20,
    n: 3,
    k: 8192,
    codes: values(-127),
    ternary: new Int8Array(3 * 8192).fill(-1),
    scale: UNIT,
  }),
  // Wide enough for every split of the work.
  linearBitnetCase({ m: 1, n: 2600, k: 64, scale: UNIT }),
  linearBitnetCase({ m: 20, n: 1100, k: 64, scale: UNIT }),
];

const products: OpCase[] = [
  ...SIZES.map(([m, n, k], i) =>
    linearBitnetCase({ m, n, k, bias: i % 2 === 0, relu: i % 4 === 1, wide: i % 5 === 2 }),
  ),
  linearBitnetCase({ m: 4, n: 48, k: 256, rowStride: 100 }),
  linearBitnetCase({ m: 40, n: 48, k: 256, bias: true, rowStride: 97 }),
  linearBitnetCase({ m: 3, n: 20, k: 64, relu: true, scale: values(NOT_A_NUMBER, 1, -1) }),
];

const repack: OpCase[] = [
  { n: 4, k: 1 },
  { n: 8, k: 33 },
  { n: 640, k: 64 },
  { n: 20, k: 200 },
  { n: 128, k: 6912 },
].map(({ n, k }) => ({
  name: `bitnet_repack ${n} x ${k}`,
  op: 'bitnet_repack',
  tensors: {
    packed: input('u8', [n / 4, k], {
      kind: 'values',
      values: [...packQuarters(ternaryMatrix(k, n, k), k)],
    }),
    weight: output('u8', [n, bitnetRowBytes(k)]),
    invalid: update('i32', [1], values(5)),
  },
  attrs: {},
  hidden: ONE,
}));
repack.push({
  name: 'bitnet_repack of any bytes',
  op: 'bitnet_repack',
  tensors: {
    packed: input('u8', [9, 131], integers(1, 0, 255)),
    weight: output('u8', [36, bitnetRowBytes(131)]),
    invalid: update('i32', [1], values(0)),
  },
  attrs: {},
  hidden: ONE,
});

const FROM = ['f32', 'f16', 'bf16'] as const;

const absmean: OpCase[] = FROM.flatMap((dtype) =>
  [
    [1, 1],
    [7, 33],
    [64, 640],
    [300, 1025],
  ].map(([n, k]) => ({
    name: `bitnet_absmean ${dtype} ${n} x ${k}`,
    op: 'bitnet_absmean',
    tensors: {
      w: input(dtype, [n as number, k as number], normal(k as number, 0.02)),
      gamma: output('f32', [1]),
    },
    attrs: {},
    hidden: ONE,
  })),
);
absmean.push(
  ...[values(0), values(1e-7), values(1, NOT_A_NUMBER), values(2, INFINITE)].map((fill, i) => ({
    name: `bitnet_absmean, special values ${i}`,
    op: 'bitnet_absmean',
    tensors: { w: input('f32', [3, 40], fill), gamma: output('f32', [1]) },
    attrs: {},
    hidden: ONE,
  })),
);

const ternarize: OpCase[] = FROM.flatMap((dtype) => [
  ...[
    [1, 1],
    [3, 65],
    [16, 640],
    [5, 6912],
  ].map(([n, k]) => ({
    name: `bitnet_ternarize ${dtype} ${n} x ${k}`,
    op: 'bitnet_ternarize',
    tensors: {
      w: input(dtype, [n as number, k as number], normal(k as number, 0.02)),
      gamma: input('f32', [1], values(0.0163)),
      weight: output('u8', [n as number, bitnetRowBytes(k as number)]),
    },
    attrs: {},
    hidden: ONE,
  })),
  {
    name: `bitnet_ternarize ${dtype}, ties, NaN and infinities`,
    op: 'bitnet_ternarize',
    tensors: {
      w: input(dtype, [1, 9], {
        ...values(0.125, -0.5, 0.375, 0, -0.125, 0.1875, -0.1875),
        at: { 6: NOT_A_NUMBER, 7: INFINITE, 8: -INFINITE },
      }),
      gamma: input('f32', [1], values(0.25)),
      weight: output('u8', [1, bitnetRowBytes(9)]),
    },
    attrs: {},
    hidden: ONE,
  },
]);

export const bitnetCases: readonly OpCase[] = [
  ...exactBitnetCases,
  ...products,
  ...repack,
  ...absmean,
  ...ternarize,
];
