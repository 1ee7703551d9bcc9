import { affinePlaneBytes, gptqPlaneBytes } from '../../lib/ops';
import {
  type CaseTensor,
  type Fill,
  FLOATS,
  input,
  integers,
  normal,
  ONE,
  type OpCase,
  output,
  update,
  values,
} from './op-case';

const bytes = (seed: number) => integers(seed, 0, 255);
const lowWidth = (bits: number): number => (bits === 3 ? 2 : bits);

/** Columns 0 .. k - 1 in an order that mixes all of them; k has no factor in common with 37. */
const mixed = (k: number, count = k): number[] =>
  Array.from({ length: count }, (_, i) => (i * 37 + 5) % k);

/** Scales that are powers of 2, with zero points inside and outside of the codes. */
const powers = (columns: number): Fill =>
  values(
    ...Array.from({ length: columns }, (_, j) => 2 ** ((j % 5) - 3)),
    ...Array.from({ length: columns }, (_, j) => [0, -3, 7, -130, 300][j % 5] as number),
  );

/** Scales that no power of 2 divides. */
const thirds = (columns: number, size: number): Fill =>
  values(
    ...Array.from({ length: columns }, (_, j) => (size * (1 + (j % 7))) / 3),
    ...Array.from({ length: columns }, (_, j) => ((j * 5) % 9) - 4),
  );

const listed = (list: readonly number[] | undefined): CaseTensor | null =>
  list ? input('i32', [list.length], values(...list)) : null;

const codesOf = (rows: number, columns: number, bits: number): CaseTensor =>
  bits === 8 ? output('i8', [rows, columns]) : output('u8', [rows, columns / 2]);

interface QuantizeShape {
  rows: number;
  cols: number;
  bits: 8 | 4;
  fill: Fill;
  grid?: Fill;
  up?: Fill;
  /** With up: none, silu or relu2. */
  activation?: 0 | 1 | 2;
  order?: readonly number[];
  /** Rows of x and up lie in one matrix of this width. */
  rowStride?: number;
  hidden?: OpCase['hidden'];
}

function quantizeCase(name: string, shape: QuantizeShape): OpCase {
  const { rows, cols, bits, fill, up, activation = 0, order, rowStride } = shape;
  const count = order?.length ?? cols;
  const spaced = (tensor: CaseTensor) => ({ ...tensor, ...(rowStride && { rowStride }) });
  const gated = up && `${['', 'silu ', 'relu2 '][activation]}times up`;
  const traits = [`${bits} bits`, name, gated, order && `${count} ordered`, rowStride && 'spaced'];
  return {
    name: [`affine_quantize ${rows} x ${cols}`, ...traits.filter(Boolean)].join(', '),
    op: 'affine_quantize',
    tensors: {
      x: spaced(input('hidden', [rows, cols], fill)),
      up: up ? spaced(input('hidden', [rows, cols], up)) : null,
      order: listed(order),
      grid: input('f32', [2, count], shape.grid ?? powers(count)),
      codes: codesOf(rows, count, bits),
    },
    attrs: { activation, bits },
    hidden: shape.hidden ?? FLOATS,
  };
}

const { NaN: NOT_A_NUMBER, POSITIVE_INFINITY: INFINITE } = Number;

const quantize: OpCase[] = ([8, 4] as const).flatMap((bits) => [
  quantizeCase('', { rows: 1, cols: 2, bits, fill: normal(1) }),
  quantizeCase('', { rows: 3, cols: 70, bits, fill: normal(2, 3) }),
  quantizeCase('', { rows: 2, cols: 4096, bits, fill: normal(3, 3), grid: thirds(4096, 0.1) }),
  quantizeCase('', { rows: 70, cols: 96, bits, fill: normal(4, 3), order: mixed(96) }),
  quantizeCase('', { rows: 5, cols: 40, bits, fill: normal(5, 3), order: mixed(40, 64) }),
  quantizeCase('', { rows: 3, cols: 200, bits, fill: normal(6), up: normal(7), rowStride: 400 }),
  quantizeCase('', {
    rows: 4,
    cols: 64,
    bits,
    fill: normal(8, 3),
    up: normal(9),
    activation: 1,
    order: mixed(64),
    rowStride: 131,
  }),
  quantizeCase('', {
    rows: 3,
    cols: 352,
    bits,
    fill: normal(10, 3),
    up: normal(11),
    activation: 1,
    grid: thirds(352, 0.25),
  }),
  quantizeCase('', {
    rows: 2,
    cols: 128,
    bits,
    fill: normal(12),
    up: normal(13),
    activation: 2,
    grid: thirds(128, 0.25),
  }),
  quantizeCase('ties with odd and even zero points', {
    rows: 2,
    cols: 10,
    bits,
    fill: values(0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5, 0, 127.5, -128.5),
    grid: values(...Array<number>(10).fill(1), 0, 0, 0, 0, 1, 1, 1, 1, -1, 1),
  }),
  quantizeCase('NaN and infinities', {
    rows: 2,
    cols: 8,
    bits,
    fill: { ...values(1, -2, 3, 0.5), at: { 1: NOT_A_NUMBER, 8: INFINITE, 15: -INFINITE } },
  }),
]);

interface NormShape {
  rows: number;
  cols: number;
  bits: 16 | 8 | 4;
  centered: boolean;
  fill: Fill;
  residual?: Fill;
  weight?: Fill;
  bias?: Fill;
  order?: readonly number[];
  grid?: Fill;
  hidden?: OpCase['hidden'];
}

function normCase(shape: NormShape): OpCase {
  const { rows, cols, bits, centered, fill, residual, weight, bias, order } = shape;
  const count = order?.length ?? cols;
  const traits = [
    centered ? 'layer norm' : 'RMS norm',
    `${bits} bits`,
    residual && 'residual',
    weight && 'weight',
    bias && 'bias',
    order && `${count} ordered`,
  ];
  return {
    name: [`norm_quantize ${rows} x ${cols}`, ...traits.filter(Boolean)].join(', '),
    op: 'norm_quantize',
    tensors: {
      x: input('hidden', [rows, cols], fill),
      residual: residual ? update('hidden', [rows, cols], residual) : null,
      weight: weight ? input('weight', [cols], weight) : null,
      bias: bias ? input('weight', [cols], bias) : null,
      order: listed(order),
      grid: bits === 16 ? null : input('f32', [2, count], shape.grid ?? thirds(count, 0.3)),
      out: bits === 16 ? output('hidden', [rows, count]) : codesOf(rows, count, bits),
    },
    attrs: { centered: centered ? 1 : 0, eps: 1e-5, bits },
    hidden: shape.hidden ?? FLOATS,
  };
}

/** Whole numbers, whose sums are exact in every dtype. */
const whole = (seed: number) => integers(seed, -40, 40);

const norms: OpCase[] = [true, false].flatMap((centered) =>
  ([16, 8, 4] as const).flatMap((bits) => [
    normCase({ rows: 1, cols: 32, bits, centered, fill: whole(1), weight: normal(2) }),
    normCase({
      rows: 3,
      cols: 64,
      bits,
      centered,
      fill: whole(3),
      residual: whole(4),
      weight: normal(5),
      bias: normal(6),
      order: mixed(64),
    }),
    normCase({
      rows: 2,
      cols: 768,
      bits,
      centered,
      fill: normal(7, 3),
      weight: normal(8),
      ...(centered && { bias: normal(9) }),
      order: mixed(768),
    }),
    normCase({ rows: 5, cols: 66, bits, centered, fill: whole(10), order: mixed(66, 96) }),
    normCase({
      rows: 2,
      cols: 4096,
      bits,
      centered,
      fill: whole(11),
      residual: whole(15),
      weight: normal(13),
      order: mixed(4096),
      grid: thirds(4096, 1),
    }),
    normCase({ rows: 70, cols: 36, bits, centered, fill: whole(14), grid: thirds(36, 1) }),
  ]),
);

function repackCase(bits: number, n: number, positions: number): OpCase {
  const planes = (count: (positions: number, width: number) => number) => ({
    low: [n, count(positions, lowWidth(bits))],
    high: [n, count(positions, 1)],
  });
  const [from, to] = [planes(gptqPlaneBytes), planes(affinePlaneBytes)];
  return {
    name: `affine_repack ${bits} bits, ${n} x ${positions}`,
    op: 'affine_repack',
    tensors: {
      codes: input('u8', from.low, bytes(n)),
      high: bits === 3 ? input('u8', from.high, bytes(n + 1)) : null,
      out_codes: output(bits === 8 ? 'i8' : 'u8', to.low),
      out_high: bits === 3 ? output('u8', to.high) : null,
    },
    attrs: { bits, positions },
    hidden: ONE,
  };
}

interface LinearShape {
  xBits: 8 | 4;
  bits: number;
  m: number;
  n: number;
  k: number;
  groupSize: number;
  bias?: boolean;
  relu?: boolean;
  wide?: boolean;
  /** Elements from one row of out to the next. */
  spacing?: number;
  /** What the codes of activations are; default: all that there are. */
  fill?: Fill;
}

export function linearAffineCase(shape: LinearShape): OpCase {
  const { xBits, bits, m, n, k, groupSize, bias, relu, wide, spacing, fill } = shape;
  const g = Math.ceil(k / groupSize);
  const traits = [bias && 'bias', relu && 'relu', wide && 'f32', spacing && 'spaced out'];
  const sizes = `W${bits}A${xBits}, ${m} x ${n} x ${k}, groups of ${groupSize}`;
  const low = [n, affinePlaneBytes(k, lowWidth(bits))];
  const x =
    xBits === 8
      ? input('i8', [m, k], fill ?? integers(k, -128, 127))
      : input('u8', [m, k / 2], fill ?? bytes(k));
  return {
    name: ['linear_affine', sizes, ...traits.filter(Boolean)].join(', '),
    op: 'linear_affine',
    tensors: {
      x,
      codes: bits === 8 ? input('i8', low, integers(n, -128, 127)) : input('u8', low, bytes(n)),
      high: bits === 3 ? input('u8', [n, affinePlaneBytes(k, 1)], bytes(n + 1)) : null,
      scales: input('weight', [n, g], normal(g, bits === 8 ? 0.005 : 0.1)),
      zeros: bits === 8 ? null : input('u8', [n, g], integers(g, 0, 2 ** bits - 1)),
      bias: bias ? input('weight', [n], normal(n)) : null,
      out: {
        ...output(wide ? 'f32' : 'hidden', [m, n]),
        ...(spacing ? { rowStride: spacing } : {}),
      },
    },
    attrs: { x_bits: xBits, bits, group_size: groupSize, activation: relu ? 1 : 0 },
    hidden: FLOATS,
  };
}

const linear: OpCase[] = ([8, 4] as const).flatMap((xBits) =>
  [4, 3, 8].flatMap((bits) => [
    linearAffineCase({ xBits, bits, m: 1, n: 32, k: 32, groupSize: 32 }),
    linearAffineCase({ xBits, bits, m: 1, n: 7, k: 96, groupSize: 64, bias: true, wide: true }),
    linearAffineCase({ xBits, bits, m: 3, n: 64, k: 160, groupSize: 64, relu: true }),
    linearAffineCase({ xBits, bits, m: 8, n: 33, k: 96, groupSize: 96, spacing: 40 }),
    linearAffineCase({ xBits, bits, m: 1, n: 130, k: 2080, groupSize: 128, bias: true }),
    linearAffineCase({ xBits, bits, m: 5, n: 16, k: 1024, groupSize: 512 }),
    linearAffineCase({ xBits, bits, m: 17, n: 65, k: 256, groupSize: 32, bias: true, relu: true }),
    linearAffineCase({ xBits, bits, m: 64, n: 130, k: 384, groupSize: 128, wide: true }),
    linearAffineCase({ xBits, bits, m: 130, n: 264, k: 320, groupSize: 64, spacing: 520 }),
  ]),
);

/** The largest sums that a group of 128 can have: nothing may wrap or lose a digit on the way. */
const extremes: OpCase[] = [
  linearAffineCase({
    xBits: 8,
    bits: 8,
    m: 2,
    n: 8,
    k: 512,
    groupSize: 256,
    fill: values(-128),
    wide: true,
  }),
].map((opCase) => ({
  ...opCase,
  name: `${opCase.name}, extremes`,
  tensors: { ...opCase.tensors, codes: input('i8', [8, 512], values(-128)) },
}));

export const affineCases: readonly OpCase[] = [
  ...quantize,
  ...norms,
  ...[3, 4, 8].flatMap((bits) => [
    repackCase(bits, 3, 32),
    repackCase(bits, 5, 160),
    repackCase(bits, 2, 45),
    repackCase(bits, 70, 256),
  ]),
  ...linear,
  ...extremes,
];
