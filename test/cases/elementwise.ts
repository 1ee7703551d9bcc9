import type { DType } from '../../lib/native';
import { FLOATS, HALVES, input, normal, ONE, type OpCase, output, update, values } from './op-case';

const add: OpCase[] = [[1], [7], [3, 64], [2, 3, 1031]].map((shape, seed) => ({
  name: `add [${shape}]`,
  op: 'add',
  tensors: {
    a: input('hidden', shape, normal(seed + 1)),
    b: input('hidden', shape, normal(seed + 100, 3)),
    out: output('hidden', shape),
  },
  attrs: {},
  hidden: FLOATS,
}));

const gatedMul = (op: string): OpCase[] =>
  [
    { rows: 1, cols: 1 },
    { rows: 3, cols: 33 },
    { rows: 5, cols: 128, rowStride: 256 },
    { rows: 2, cols: 1001, rowStride: 2003 },
  ].map(({ rows, cols, rowStride }) => ({
    name: `${op} ${rows} x ${cols}${rowStride ? `, rows ${rowStride} apart` : ''}`,
    op,
    tensors: {
      gate: { ...input('hidden', [rows, cols], normal(cols, 4)), ...(rowStride && { rowStride }) },
      up: { ...input('hidden', [rows, cols], normal(cols + 1)), ...(rowStride && { rowStride }) },
      out: output('hidden', [rows, cols]),
    },
    attrs: {},
    hidden: FLOATS,
  }));

const siluMul = gatedMul('silu_mul');
const relu2Mul = gatedMul('relu2_mul');

siluMul.push({
  name: 'silu_mul of extremes',
  op: 'silu_mul',
  tensors: {
    gate: input('hidden', [1, 6], values(-200, -1e4, 0, 200, -30, 90)),
    up: input('hidden', [1, 6], values(1)),
    out: output('hidden', [1, 6]),
  },
  attrs: {},
  hidden: FLOATS,
});

relu2Mul.push({
  name: 'relu2_mul beyond the range of fp16',
  op: 'relu2_mul',
  tensors: {
    gate: input('hidden', [1, 6], values(300, -300, 0, 1e4, Number.NaN, -0.5)),
    up: input('hidden', [1, 6], values(2, 2, 2, -3, 1, 1)),
    out: output('hidden', [1, 6]),
  },
  attrs: {},
  hidden: ['f32', 'bf16'],
});

const scaleColumns: OpCase[] = [
  [1, 1],
  [4, 33],
  [3, 1024],
].map(([rows, cols]) => ({
  name: `scale_columns ${rows} x ${cols}`,
  op: 'scale_columns',
  tensors: {
    x: update('hidden', [rows as number, cols as number], normal(cols as number)),
    scale: input('f32', [cols as number], normal(7, 2)),
  },
  attrs: {},
  hidden: FLOATS,
}));

/** Numbers at which rounding is delicate: ties, subnormals, overflow, signed zeros. */
const DELICATE = [
  0, -0, 1, 1.00048828125, 1.0009765625, 2049, 2051, 65504, 65519.996, 65520, -7e4, 1e38, 5.96e-8,
  2.98e-8, 2.9803e-8, 6.1e-5, 6.097e-5, 1.00390625, 1.01171875, 3.3895e38, -1e-40,
];

const cast: OpCase[] = (['f32', 'f16', 'bf16'] as DType[]).flatMap((from) =>
  (['f32', 'f16', 'bf16'] as DType[]).flatMap((to) => [
    {
      name: `cast ${from} to ${to}`,
      op: 'cast',
      tensors: { x: input(from, [3, 345], normal(5, 10)), out: output(to, [3, 345]) },
      attrs: {},
      hidden: ONE,
    },
    {
      name: `cast delicate ${from} to ${to}`,
      op: 'cast',
      tensors: {
        x: input(from, [DELICATE.length], values(...DELICATE)),
        out: output(to, [DELICATE.length]),
      },
      attrs: {},
      hidden: ONE,
    },
  ]),
);

const fillRandom: OpCase[] = (['f32', 'f16', 'bf16', 'i8'] as DType[]).flatMap((dtype) =>
  [1, 4294967295].map((seed) => ({
    name: `fill_random ${dtype}, seed ${seed}`,
    op: 'fill_random',
    tensors: { out: output(dtype, [3, 677]) },
    attrs: { seed, scale: 0.02 },
    hidden: ONE,
  })),
);

const norm = (
  rows: number,
  cols: number,
  residual: boolean,
  op: string,
  affine = true,
): OpCase => ({
  name: `${op} ${rows} x ${cols}${residual ? ' of a residual' : ''}${affine ? '' : ', bare'}`,
  op,
  tensors: {
    x: input('hidden', [rows, cols], normal(cols, 2)),
    residual: residual ? update('hidden', [rows, cols], normal(cols + 1, 3)) : null,
    weight: affine ? input('weight', [cols], normal(cols + 2)) : null,
    ...(op === 'layer_norm' && {
      bias: affine ? input('weight', [cols], normal(cols + 3, 0.5)) : null,
    }),
    out: output('hidden', [rows, cols]),
  },
  attrs: { eps: 1e-5 },
  hidden: FLOATS,
});

const NORM_SIZES = [
  [1, 1],
  [3, 33],
  [2, 128],
  [4, 768],
  [2, 5001],
] as const;

const norms: OpCase[] = NORM_SIZES.flatMap(([rows, cols]) =>
  [false, true].flatMap((residual) => [
    norm(rows, cols, residual, 'rms_norm'),
    ...(cols > 1 ? [norm(rows, cols, residual, 'layer_norm')] : []),
  ]),
);
norms.push(norm(3, 100, true, 'layer_norm', false));

export const elementwiseCases: readonly OpCase[] = [
  ...add,
  ...siluMul,
  ...relu2Mul,
  ...scaleColumns,
  ...cast,
  ...fillRandom,
  ...norms,
];

/** Linear layers in 16- and 32-bit floats. */
export const linearCases: readonly OpCase[] = [
  { m: 1, n: 1, k: 1 },
  { m: 1, n: 33, k: 64 },
  { m: 2, n: 17, k: 31, bias: true },
  { m: 3, n: 64, k: 5, bias: true, relu: true },
  { m: 7, n: 129, k: 96, bias: true },
  { m: 9, n: 16, k: 499 },
  { m: 16, n: 257, k: 128, bias: true, relu: true },
  { m: 33, n: 65, k: 127, bias: true },
  { m: 65, n: 48, k: 256, wide: true },
  { m: 129, n: 31, k: 64, bias: true, wide: true },
  { m: 5, n: 40, k: 4097, bias: true },
  { m: 4, n: 24, k: 64, bias: true, relu: true, vendor: true },
  { m: 30, n: 40, k: 72, wide: true, vendor: true },
].map(({ m, n, k, bias = false, relu = false, wide = false, vendor = false }) => ({
  name: [
    `linear ${m} x ${n} x ${k}`,
    ...(bias ? ['bias'] : []),
    ...(relu ? ['relu'] : []),
    ...(wide ? ['f32 out'] : []),
    ...(vendor ? ['by the vendor library'] : []),
  ].join(', '),
  op: 'linear',
  tensors: {
    x: input('hidden', [m, k], normal(m + k)),
    weight: input('weight', [n, k], normal(n + k, 0.1)),
    bias: bias ? input('weight', [n], normal(n)) : null,
    out: output(wide ? 'f32' : 'hidden', [m, n]),
  },
  attrs: { activation: relu ? 1 : 0, vendor_library: vendor ? 1 : 0 },
  hidden: HALVES,
}));
