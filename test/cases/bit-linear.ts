import { bitnetRowBytes } from '../../lib/ops';
import { packTernary, ternaryMatrix } from '../support/bitnet';
import {
  type CaseTensor,
  type Fill,
  HALVES,
  input,
  normal,
  type OpCase,
  output,
  values,
} from './op-case';

interface BitLinearShape {
  m: number;
  n: number;
  k: number;
  fill?: Fill;
  up?: boolean;
  /** With up: none, silu or relu2. */
  gate?: 0 | 1 | 2;
  norm?: boolean;
  bias?: boolean;
  relu?: boolean;
  wide?: boolean;
  residual?: boolean;
  /** Elements from row to row of x and up, and of residual and out. */
  inputStride?: number;
  outputStride?: number;
}

const GATES = ['times up', 'silu times up', 'relu2 times up'];

function bitLinearCase(shape: BitLinearShape): OpCase {
  const { m, n, k, up, gate = 0, residual, norm, bias, relu, wide } = shape;
  const { inputStride, outputStride } = shape;
  const spaced = (tensor: CaseTensor, rowStride?: number) => ({
    ...tensor,
    ...(rowStride && { rowStride }),
  });
  const traits = [
    shape.fill && 'special values',
    up && GATES[gate],
    residual && 'residual',
    norm && 'norm',
    bias && 'bias',
    relu && 'relu',
    wide && 'f32 out',
    inputStride && `input rows ${inputStride} apart`,
    outputStride && `output rows ${outputStride} apart`,
  ].filter(Boolean);
  const packed = packTernary(ternaryMatrix(n + k, n, k), k);
  return {
    name: [`bit_linear ${m} x ${n} x ${k}`, ...traits].join(', '),
    op: 'bit_linear',
    tensors: {
      x: spaced(input('hidden', [m, k], shape.fill ?? normal(k, 3)), inputStride),
      up: up ? spaced(input('hidden', [m, k], normal(m + 1)), inputStride) : null,
      norm: norm ? input('weight', [k], normal(9)) : null,
      weight: input('u8', [n, bitnetRowBytes(k)], { kind: 'values', values: [...packed] }),
      weight_scales: input('f32', [n], normal(n, 0.1)),
      bias: bias ? input('weight', [n], normal(n, 2)) : null,
      residual: residual
        ? spaced(input(wide ? 'f32' : 'hidden', [m, n], normal(n + 1, 2)), outputStride)
        : null,
      out: spaced(output(wide ? 'f32' : 'hidden', [m, n]), outputStride),
    },
    attrs: { gate, eps: norm ? 1e-5 : 0, activation: relu ? 1 : 0 },
    hidden: HALVES,
  };
}

const SIZES = [
  [1, 1, 1],
  [1, 40, 64],
  [1, 300, 2560],
  [2, 33, 17],
  [2, 140, 640],
  [3, 21, 200],
  [1, 17, 6912],
  [1, 20, 10240],
  [1, 4300, 64],
  [1, 150, 14400],
  [1, 33, 28672],
  [9, 50, 320],
  [40, 65, 128],
  [40, 68, 128],
  [70, 136, 640],
] as const;

export const bitLinearCases: readonly OpCase[] = [
  ...SIZES.flatMap(([m, n, k], i) => [
    bitLinearCase({ m, n, k, bias: i % 2 === 0, relu: i % 3 === 1, wide: i % 4 === 2 }),
    bitLinearCase({ m, n, k, residual: true, norm: true }),
    bitLinearCase({ m, n, k, up: true, gate: 2, norm: true }),
  ]),
  bitLinearCase({ m: 2, n: 48, k: 256, up: true, gate: 2, norm: true, inputStride: 512 }),
  bitLinearCase({ m: 1, n: 48, k: 100, up: true, inputStride: 203, outputStride: 97 }),
  bitLinearCase({ m: 2, n: 1400, k: 64, residual: true, outputStride: 1408 }),
  bitLinearCase({ m: 40, n: 48, k: 64, residual: true, outputStride: 97 }),
  bitLinearCase({ m: 3, n: 50, k: 64, residual: true, bias: true, relu: true, wide: true }),
  bitLinearCase({ m: 40, n: 50, k: 64, residual: true, wide: true }),
  bitLinearCase({ m: 2, n: 24, k: 128, fill: values(0), norm: true }),
  bitLinearCase({
    m: 3,
    n: 24,
    k: 128,
    fill: { ...normal(4), at: { 7: Number.NaN, 300: Number.POSITIVE_INFINITY } },
    norm: true,
    relu: true,
  }),
];
