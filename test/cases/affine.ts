import { affinePlaneBytes, gptqPlaneBytes } from '../../lib/ops';
import {
  type Fill,
  FLOATS,
  input,
  integers,
  normal,
  ONE,
  type OpCase,
  output,
  values,
} from './op-case';

const bytes = (seed: number) => integers(seed, 0, 255);
const lowWidth = (bits: number): number => (bits === 3 ? 2 : bits);

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

/** So many rows and columns that CUDA takes its larger tiles: too much for every run on a CPU. */
export const affineTileCases: readonly OpCase[] = [4, 3, 8].flatMap((bits) => [
  linearAffineCase({ xBits: 8, bits, m: 300, n: 2050, k: 320, groupSize: 64 }),
  linearAffineCase({ xBits: 8, bits, m: 600, n: 2050, k: 384, groupSize: 128, bias: true }),
  linearAffineCase({ xBits: 8, bits, m: 600, n: 2050, k: 320, groupSize: 32 }),
]);

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
  ...[3, 4, 8].flatMap((bits) => [
    repackCase(bits, 3, 32),
    repackCase(bits, 5, 160),
    repackCase(bits, 2, 45),
    repackCase(bits, 70, 256),
  ]),
  ...linear,
  ...extremes,
];
