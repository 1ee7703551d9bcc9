import { type Fill, HALVES, input, normal, ONE, type OpCase, output, update } from './op-case';

/** Values of a whole tensor; too many for the arguments of a call. */
const listed = (values: readonly number[]): Fill => ({ kind: 'values', values });

/** A symmetric matrix with a heavy diagonal of different sizes; `dead` inputs are always 0. */
function hessian(k: number, dead: readonly number[] = []): number[] {
  return Array.from({ length: k * k }, (_, index) => {
    const [row, col] = [Math.floor(index / k), index % k];
    if (dead.includes(row) || dead.includes(col)) return 0;
    if (row === col) return k * (1 + ((row * 7) % 11));
    return ((row + col + row * col) % 9) - 4;
  });
}

const hessianCases: OpCase[] = (
  [
    [1, 1, 0, 2],
    [3, 17, 0.5, 0.25],
    [40, 64, 0.9, 0.1],
    [1030, 96, 0.3, 0.002],
    [70, 200, 0, 0.5],
    [33, 131, 0.5, 0.1],
  ] as const
).map(([m, k, keep, scale]) => ({
  name: `gptq_hessian ${m} x ${k}`,
  op: 'gptq_hessian',
  tensors: {
    x: input('hidden', [m, k], normal(k)),
    h: update('f32', [k, k], listed(hessian(k))),
  },
  attrs: { keep, scale },
  hidden: HALVES,
}));

const factorCases: OpCase[] = (
  [
    [1, 0, 1, []],
    [5, 0, 8, []],
    [40, 1, 8, [3, 7]],
    [72, 2, 16, []],
    [100, 2, 32, [0, 99]],
    [130, 1, 64, []],
    [200, 0, 64, [64]],
    [333, 2, 64, []],
  ] as const
).map(([k, ordering, groupSize, dead]) => ({
  name: `gptq_factor ${k}, ordering ${ordering}, groups of ${groupSize}`,
  op: 'gptq_factor',
  tensors: {
    h: input('f32', [k, k], listed(hessian(k, dead))),
    factor: output('f32', [k, k]),
    order: output('i32', [k]),
    dead: output('u8', [k]),
    used: output('f32', [1]),
  },
  attrs: { ordering, group_size: groupSize, damp: 0.0625 },
  hidden: ONE,
}));

/** An upper triangle as a factor may be. */
function factor(k: number): number[] {
  return Array.from({ length: k * k }, (_, index) => {
    const [row, col] = [Math.floor(index / k), index % k];
    if (row === col) return 1 + (row % 3) / 4;
    return row < col ? (((row * 5 + col * 3) % 13) - 6) / 64 : 0;
  });
}

interface Shape {
  bits: number;
  n: number;
  k: number;
  groupSize: number;
  sym?: boolean;
  grouping?: number;
  mse?: number;
  plain?: boolean;
}

function quantizeCase(shape: Shape): OpCase {
  const { bits, n, k, groupSize, sym = false, grouping = 0, mse = 0, plain = false } = shape;
  const groups = groupSize ? Math.ceil(k / groupSize) : 1;
  const order = Array.from({ length: k }, (_, i) =>
    // Groups backwards but kept together, or everything mixed.
    grouping === 2
      ? (groups - 1 - Math.floor(i / groupSize)) * groupSize + (i % groupSize)
      : (i * 37 + 5) % k,
  );
  const dead = order.map((i) => (i === 6 ? 1 : 0));
  const traits = [sym && 'sym', mse && 'search', plain && 'to nearest'].filter(Boolean);
  return {
    name: [
      'gptq_quantize',
      `${bits} bits, ${n} x ${k}, groups of ${groupSize}, grouping ${grouping}`,
      ...traits,
    ].join(', '),
    op: 'gptq_quantize',
    tensors: {
      w: update('f32', [n, k], normal(n + k)),
      factor: plain ? null : input('f32', [k, k], listed(factor(k))),
      order: plain ? null : input('i32', [k], listed(order)),
      dead: plain ? null : input('u8', [k], listed(dead)),
      codes: output('u8', [n, k]),
      scales: output('f32', [n, groups]),
      zeros: output('u8', [n, groups]),
      loss: output('f32', [n]),
    },
    attrs: { bits, group_size: groupSize, sym: sym ? 1 : 0, grouping, mse },
    hidden: ONE,
  };
}

const quantizeCases: OpCase[] = [
  quantizeCase({ bits: 4, n: 1, k: 1, groupSize: 0, plain: true }),
  quantizeCase({ bits: 2, n: 9, k: 40, groupSize: 16, plain: true, sym: true }),
  quantizeCase({ bits: 3, n: 5, k: 33, groupSize: 0 }),
  quantizeCase({ bits: 4, n: 17, k: 64, groupSize: 32, sym: true }),
  quantizeCase({ bits: 3, n: 8, k: 64, groupSize: 16, grouping: 1, mse: 2.4 }),
  quantizeCase({ bits: 2, n: 8, k: 64, groupSize: 32, mse: 2.4 }),
  quantizeCase({ bits: 8, n: 3, k: 150, groupSize: 64 }),
  quantizeCase({ bits: 4, n: 2, k: 300, groupSize: 0, sym: true }),
  quantizeCase({ bits: 2, n: 130, k: 260, groupSize: 48 }),
  quantizeCase({ bits: 3, n: 4, k: 390, groupSize: 200 }),
  quantizeCase({ bits: 4, n: 34, k: 160, groupSize: 32, grouping: 2, sym: true }),
];

export const gptqQuantizeCases: readonly OpCase[] = [
  ...hessianCases,
  ...factorCases,
  ...quantizeCases,
];
