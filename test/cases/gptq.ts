import {
  type CaseTensor,
  type Fill,
  HALVES,
  input,
  integers,
  normal,
  ONE,
  type OpCase,
  output,
  values,
} from './op-case';

const words = (seed: number) => integers(seed, -(2 ** 31), 2 ** 31 - 1);
const bytes = (seed: number) => integers(seed, 0, 255);
const lowWidth = (bits: number): number => (bits === 3 ? 2 : bits);
const planeBytes = (positions: number, width: number): number =>
  (Math.ceil(positions / 32) * 32 * width) / 8;

/** Columns 0 .. k-1 in an order that mixes all of them; k has no factor in common with 37. */
const mixed = (k: number): number[] => Array.from({ length: k }, (_, i) => (i * 37 + 5) % k);

interface RepackShape {
  bits: number;
  n: number;
  k: number;
  g: number;
  v1?: boolean;
  order?: number[];
  groups?: number[];
}

function repackCase({ bits, n, k, g, v1, order, groups }: RepackShape): OpCase {
  const positions = order?.length ?? k;
  const count = groups?.length ?? g;
  const list = (items: number[] | undefined): CaseTensor | null =>
    items ? input('i32', [items.length], values(...items)) : null;
  return {
    name: `gptq_repack ${bits} bits, ${k} x ${n}, ${g} groups${v1 ? ', v1' : ''}${order ? ', ordered' : ''}`,
    op: 'gptq_repack',
    tensors: {
      qweight: input('i32', [(k * bits) / 32, n], words(k)),
      qzeros: input('i32', [g, (n * bits) / 32], words(n + bits)),
      scales: input('weight', [g, n], normal(g)),
      order: list(order),
      groups: list(groups),
      codes: output('u8', [n, planeBytes(positions, lowWidth(bits))]),
      high: bits === 3 ? output('u8', [n, planeBytes(positions, 1)]) : null,
      zeros: output('u8', [n, count]),
      out_scales: output('weight', [n, count]),
    },
    attrs: { bits, v1: v1 ? 1 : 0 },
    hidden: ONE,
  };
}

const WIDTHS = [2, 3, 4, 8];

const repack: OpCase[] = [
  ...WIDTHS.flatMap((bits) => [
    repackCase({ bits, n: 32, k: 32, g: 1 }),
    repackCase({ bits, n: 96, k: 160, g: 3, v1: true }),
    // Padding within and after, a group that is cut in two, and one that is not used.
    repackCase({
      bits,
      n: 64,
      k: 64,
      g: 4,
      v1: true,
      order: [...mixed(64).slice(0, 40), -1, -1, ...mixed(64).slice(40)],
      groups: [3, 0, 0, 1],
    }),
  ]),
  // Neither extent is a multiple of 32.
  repackCase({ bits: 4, n: 8, k: 40, g: 5 }),
  repackCase({ bits: 8, n: 4, k: 12, g: 1, v1: true }),
];

interface LinearShape {
  bits: number;
  m: number;
  n: number;
  k: number;
  groupSize: number;
  order?: number[];
  bias?: boolean;
  relu?: boolean;
  wide?: boolean;
  /** Elements from one row of out to the next. */
  spacing?: number;
  /** Values of x, and what the name says of them. */
  x?: { fill: Fill; trait: string };
}

export function linearGptqCase(shape: LinearShape): OpCase {
  const { bits, m, n, k, groupSize, order, bias, relu, wide, spacing, x } = shape;
  const positions = order?.length ?? k;
  const g = Math.ceil(positions / groupSize);
  const traits = [
    order && 'ordered',
    bias && 'bias',
    relu && 'relu',
    spacing && 'spaced out',
    x?.trait,
  ];
  const sizes = `${bits} bits, ${m} x ${n} x ${k}, groups of ${groupSize}`;
  return {
    name: ['linear_gptq', sizes, ...traits.filter(Boolean)].join(', '),
    op: 'linear_gptq',
    tensors: {
      x: input('hidden', [m, k], x?.fill ?? normal(k)),
      codes: input('u8', [n, planeBytes(positions, lowWidth(bits))], bytes(n + k)),
      high: bits === 3 ? input('u8', [n, planeBytes(positions, 1)], bytes(n)) : null,
      scales: input('weight', [n, g], normal(g, 0.1)),
      zeros: input('u8', [n, g], integers(g, 0, 2 ** bits - 1)),
      order: order ? input('i32', [positions], values(...order)) : null,
      bias: bias ? input('weight', [n], normal(n)) : null,
      out: {
        ...output(wide ? 'f32' : 'hidden', [m, n]),
        ...(spacing ? { rowStride: spacing } : {}),
      },
    },
    attrs: { bits, group_size: groupSize, activation: relu ? 1 : 0 },
    hidden: HALVES,
  };
}

const linear: OpCase[] = WIDTHS.flatMap((bits) => [
  linearGptqCase({ bits, m: 1, n: 32, k: 32, groupSize: 32 }),
  linearGptqCase({ bits, m: 1, n: 96, k: 256, groupSize: 128, bias: true, wide: true }),
  linearGptqCase({ bits, m: 3, n: 64, k: 160, groupSize: 64, relu: true }),
  linearGptqCase({ bits, m: 8, n: 33, k: 96, groupSize: 96, spacing: 40 }),
  linearGptqCase({ bits, m: 9, n: 160, k: 2080, groupSize: 32, bias: true, relu: true }),
  linearGptqCase({ bits, m: 17, n: 65, k: 128, groupSize: 32, order: mixed(128) }),
  linearGptqCase({ bits, m: 2, n: 7, k: 45, groupSize: 7 }),
  linearGptqCase({
    bits,
    m: 130,
    n: 40,
    k: 64,
    groupSize: 16,
    order: [-1, ...mixed(64).slice(0, 50), -1, -1, ...mixed(64).slice(50)],
    bias: true,
  }),
  // Few rows on the CPU: a last word that is not full, and blocks of positions that begin in a group.
  linearGptqCase({ bits, m: 2, n: 7, k: 45, groupSize: 32 }),
  linearGptqCase({ bits, m: 1, n: 6, k: 1100, groupSize: 384, bias: true }),
  linearGptqCase({ bits, m: 4, n: 9, k: 128, groupSize: 32, order: mixed(128), relu: true }),
  // What CUDA's tensor-core kernels take: whole pieces of 128 positions, groups of as many, a short
  // last group, one group for all.
  linearGptqCase({ bits, m: 6, n: 100, k: 320, groupSize: 128, bias: true }),
  linearGptqCase({ bits, m: 12, n: 136, k: 1152, groupSize: 256 }),
  linearGptqCase({ bits, m: 64, n: 72, k: 384, groupSize: 384, wide: true }),
  linearGptqCase({ bits, m: 65, n: 130, k: 256, groupSize: 128, bias: true, relu: true }),
  linearGptqCase({ bits, m: 256, n: 264, k: 384, groupSize: 64, spacing: 520 }),
  linearGptqCase({ bits, m: 37, n: 40, k: 256, groupSize: 32, order: mixed(256), wide: true }),
  // Where a block of the kernel for few rows on sm_90 has more tiles than one, several slices of K, a
  // last piece that is not full.
  linearGptqCase({ bits, m: 1, n: 4240, k: 256, groupSize: 128, bias: true }),
  linearGptqCase({ bits, m: 1, n: 48, k: 4480, groupSize: 128 }),
  linearGptqCase({ bits, m: 7, n: 48, k: 4480, groupSize: 128, wide: true }),
  linearGptqCase({ bits, m: 2, n: 32, k: 2240, groupSize: 2240, relu: true, spacing: 40 }),
  // One row, of which a kernel of sm_90 makes fixed-point numbers: an outlier, the smallest numbers of f16
  // and less, a value that is none.
  linearGptqCase({
    bits,
    m: 1,
    n: 48,
    k: 2304,
    groupSize: 128,
    x: { fill: { ...normal(7), at: { 77: 400, 1500: -1 / 4096, 2303: -90 } }, trait: 'outliers' },
  }),
  linearGptqCase({
    bits,
    m: 1,
    n: 32,
    k: 256,
    groupSize: 128,
    wide: true,
    x: { fill: normal(8, 1e-6), trait: 'tiny' },
  }),
  linearGptqCase({
    bits,
    m: 1,
    n: 32,
    k: 512,
    groupSize: 128,
    x: { fill: { ...normal(9), at: { 300: Number.NaN } }, trait: 'NaN' },
  }),
]);

/** Every number of rows that kernels for few rows treat by themselves, with small groups and with large. */
const fewRows: OpCase[] = Array.from({ length: 17 }, (_, i) => [
  linearGptqCase({ bits: 4, m: i + 1, n: 24, k: 160, groupSize: 32 }),
  linearGptqCase({ bits: 4, m: i + 1, n: 48, k: 288, groupSize: 128 }),
]).flat();

/**
 * What kernels of sm_90 take of one row and of several: large weights, so these cases are for CUDA alone.
 * Among them several tiles to a block, slices of K, a last piece that is not full.
 */
export const largeGptqCases: readonly OpCase[] = [
  linearGptqCase({ bits: 3, m: 1, n: 8480, k: 4224, groupSize: 128, relu: true }),
  linearGptqCase({ bits: 4, m: 1, n: 48, k: 12832, groupSize: 128, bias: true }),
  linearGptqCase({ bits: 2, m: 1, n: 2144, k: 12544, groupSize: 12544 }),
  // More tiles than have their scales fetched at a time; so long a row that it is one; that x comes in parts.
  linearGptqCase({ bits: 4, m: 1, n: 6352, k: 8320, groupSize: 128, bias: true }),
  linearGptqCase({ bits: 3, m: 1, n: 4240, k: 28672, groupSize: 128 }),
  linearGptqCase({ bits: 2, m: 1, n: 32, k: 33152, groupSize: 256 }),
  linearGptqCase({ bits: 3, m: 16, n: 10560, k: 3072, groupSize: 1024, bias: true }),
  linearGptqCase({ bits: 4, m: 9, n: 9504, k: 6176, groupSize: 128, spacing: 9600 }),
  linearGptqCase({ bits: 2, m: 5, n: 19008, k: 3072, groupSize: 128, relu: true }),
  // Up to 16 rows: each count of tiles and of stages that a block may have, a last block of one tile, a
  // last piece that is not full.
  ...WIDTHS.flatMap((bits) => [
    linearGptqCase({ bits, m: 4, n: 1072, k: 4192, groupSize: 128, bias: true }),
    linearGptqCase({ bits, m: 8, n: 4240, k: 2144, groupSize: 256, relu: true }),
    linearGptqCase({ bits, m: 3, n: 8464, k: 1120, groupSize: 1120, spacing: 8480 }),
    linearGptqCase({ bits, m: 11, n: 1040, k: 4192, groupSize: 128, wide: true }),
    linearGptqCase({ bits, m: 16, n: 4240, k: 2144, groupSize: 128, bias: true, relu: true }),
  ]),
  linearGptqCase({ bits: 8, m: 1, n: 4240, k: 2144, groupSize: 128, bias: true }),
  // Many rows: tiles of 192 outputs, of which the last is not full.
  ...WIDTHS.map((bits) => {
    const groupSize = bits === 4 ? 32 : bits === 3 ? 64 : 256;
    return linearGptqCase({ bits, m: 200, n: 12260, k: 256, groupSize, bias: true });
  }),
  // Several units to a block, of each shape of tile: the last ones not full, either way.
  linearGptqCase({ bits: 4, m: 270, n: 9232, k: 512, groupSize: 128, bias: true }),
  linearGptqCase({ bits: 4, m: 520, n: 9232, k: 512, groupSize: 512, relu: true }),
  linearGptqCase({ bits: 4, m: 250, n: 25952, k: 512, groupSize: 128, spacing: 25956 }),
  linearGptqCase({ bits: 3, m: 270, n: 9232, k: 512, groupSize: 32 }),
  linearGptqCase({ bits: 2, m: 520, n: 9232, k: 512, groupSize: 128, bias: true, relu: true }),
  linearGptqCase({ bits: 8, m: 250, n: 25952, k: 256, groupSize: 128, bias: true }),
  // Two launches, for whole rounds of blocks and the rest.
  linearGptqCase({
    bits: 4,
    m: 130,
    n: 22000,
    k: 1024,
    groupSize: 128,
    relu: true,
    spacing: 22008,
  }),
];

export const gptqCases: readonly OpCase[] = [...repack, ...linear, ...fewRows];
