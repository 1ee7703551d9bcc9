import { alignInt8 as align } from '../../lib/ops';
import {
  type CaseTensor,
  type Fill,
  HALVES,
  input,
  integers,
  normal,
  type OpCase,
  output,
  values,
} from './op-case';

interface LinearShape {
  m: number;
  n: number;
  k: number;
  /** Outlier columns. */
  outliers?: readonly number[];
  mode?: number;
  bias?: boolean;
  relu?: boolean;
  /** Columns of the weight kept in 16 bits. */
  kept?: readonly number[];
  wide?: boolean;
  /** Ranges of codes. */
  codes?: Fill;
  weight?: Fill;
  scale?: Fill;
}

/** Scales that make the output the int32 sum itself. */
const UNIT = values(127);

export function linearInt8Case(shape: LinearShape): OpCase {
  const { m, n, k, outliers, mode = 0, bias, relu, kept } = shape;
  const kp = align(k);
  const optional = (tensor: CaseTensor, present: unknown) => (present ? tensor : null);
  const listed = outliers && [...outliers, ...new Array<number>(k - outliers.length).fill(0)];
  const slots = kept && Array.from({ length: k }, (_, column) => kept.indexOf(column));
  const traits = [
    outliers && `outliers ${outliers.length > 8 ? outliers.length : `[${outliers}]`}`,
    mode && 'bitsandbytes',
    bias && 'bias',
    relu && 'relu',
    kept && `kept [${kept}]`,
    shape.wide && 'f32 out',
    shape.scale === UNIT && 'exact sums',
  ].filter(Boolean);
  return {
    name: ['linear_int8', `${m} x ${n} x ${k}`, ...traits].join(', '),
    op: 'linear_int8',
    tensors: {
      codes: input('i8', [m, kp], {
        ...(shape.codes ?? integers(m + k, -127, 127)),
        within: [m, k],
      }),
      scales: input('f32', [m], shape.scale ?? { ...normal(m), at: { 0: 3 } }),
      columns: optional(input('i32', [k], values(...(listed ?? []))), outliers),
      count: optional(input('i32', [1], values(outliers?.length ?? 0)), outliers),
      x: optional(input('hidden', [m, k], normal(k, 4)), outliers),
      weight: input('i8', [align(n), kp], {
        ...(shape.weight ?? integers(n + k, -127, 127)),
        within: [n, k],
      }),
      weight_scales: input('f32', [n], shape.scale ?? normal(n, 0.1)),
      bias: optional(input('weight', [n], normal(n, 2)), bias),
      kept_slots: optional(input('i32', [k], values(...(slots ?? []))), kept),
      kept: optional(input('weight', [kept?.length ?? 0, n], normal(k)), kept),
      out: output(shape.wide || shape.scale === UNIT ? 'f32' : 'hidden', [m, n]),
    },
    attrs: { mode, activation: relu ? 1 : 0 },
    hidden: HALVES,
  };
}

const SIZES = [
  [1, 1, 1],
  [1, 7, 3],
  [2, 33, 17],
  [3, 16, 31],
  [7, 65, 16],
  [8, 5, 499],
  [9, 129, 64],
  [15, 48, 5],
  [16, 17, 128],
  [17, 31, 96],
  [31, 3, 15],
  [33, 64, 4],
  [63, 9, 65],
  [65, 100, 33],
  [127, 16, 100],
  [129, 40, 48],
  [255, 24, 31],
] as const;

const range = (count: number, step: number) => Array.from({ length: count }, (_, i) => i * step);

/** Sums that must come out exactly; the expected output is the int32 sum. */
export const exactInt8Cases: readonly OpCase[] = [
  ...SIZES.map(([m, n, k]) => linearInt8Case({ m, n, k, scale: UNIT })),
  ...[1, 15, 4095, 4097, 9000].map((k) => linearInt8Case({ m: 3, n: 20, k, scale: UNIT })),
  // -128 never comes out of quantization, but a foreign checkpoint may hold it.
  linearInt8Case({
    m: 20,
    n: 33,
    k: 512,
    codes: integers(1, -128, 127),
    weight: integers(2, -128, 127),
    scale: UNIT,
  }),
  linearInt8Case({ m: 2, n: 3, k: 131072, codes: values(127), weight: values(127), scale: UNIT }),
  linearInt8Case({ m: 17, n: 2, k: 131072, codes: values(-127), weight: values(127), scale: UNIT }),
  linearInt8Case({
    m: 1,
    n: 17,
    k: 131072,
    codes: values(127, -127),
    weight: values(-127, 127),
    scale: UNIT,
  }),
];

const products: OpCase[] = [
  ...SIZES.flatMap(([m, n, k], i) =>
    [0, 1].map((mode) =>
      linearInt8Case({
        m,
        n,
        k,
        mode,
        outliers: i % 3 === 0 ? [] : [0, ...(k > 4 ? [k >> 1, k - 1] : [])],
        bias: i % 2 === 0,
        relu: i % 4 === 1,
        wide: i % 5 === 2,
        ...(i % 3 === 1 && { kept: [k - 1] }),
      }),
    ),
  ),
  linearInt8Case({ m: 4, n: 33, k: 700, outliers: range(700, 1), bias: true }),
  linearInt8Case({ m: 70, n: 33, k: 700, outliers: range(350, 2), kept: [4, 8, 600] }),
  linearInt8Case({ m: 5, n: 16, k: 40, outliers: range(13, 3), mode: 1, kept: [3, 6] }),
  // Several tiles and steps of K, with few outliers and with many.
  linearInt8Case({ m: 40, n: 200, k: 2100, outliers: range(6, 300), bias: true }),
  linearInt8Case({
    m: 140,
    n: 328,
    k: 1100,
    outliers: range(100, 11),
    bias: true,
    kept: [11, 440],
  }),
  linearInt8Case({ m: 300, n: 96, k: 520, outliers: range(33, 7), mode: 1 }),
  // On an H100 a block goes through several tiles, or blocks share K.
  linearInt8Case({ m: 3, n: 2400, k: 1300, outliers: range(20, 60), bias: true, kept: [60] }),
  linearInt8Case({ m: 1, n: 9100, k: 300, outliers: range(6, 48), kept: [48] }),
  linearInt8Case({ m: 11, n: 4500, k: 1300, outliers: range(20, 60), bias: true, kept: [60] }),
  // As many outliers as its blocks pick out of the weights on their way, and more.
  linearInt8Case({ m: 1, n: 9100, k: 1300, outliers: range(64, 20), bias: true }),
  linearInt8Case({ m: 1, n: 4500, k: 2100, outliers: range(70, 30), mode: 1 }),
  linearInt8Case({ m: 1, n: 4500, k: 2100, outliers: range(70, 30), kept: range(35, 60) }),
  linearInt8Case({ m: 6, n: 4500, k: 2100, outliers: range(65, 1), kept: range(17, 2) }),
  linearInt8Case({ m: 13, n: 4500, k: 2100, outliers: range(64, 32), kept: range(16, 64) }),
  linearInt8Case({ m: 16, n: 40, k: 1040, outliers: range(65, 16), mode: 1, bias: true }),
  linearInt8Case({ m: 17, n: 64, k: 1024, outliers: range(6, 150), bias: true }),
  // So many rows that outliers are packed first, unless they are few or very many.
  linearInt8Case({ m: 520, n: 41, k: 300, outliers: range(16, 9), kept: [9, 18] }),
  linearInt8Case({ m: 515, n: 72, k: 300, outliers: range(17, 9), kept: [9, 18], bias: true }),
  linearInt8Case({ m: 514, n: 33, k: 300, outliers: range(33, 9), relu: true }),
  linearInt8Case({ m: 513, n: 40, k: 450, outliers: range(150, 3), kept: range(75, 6) }),
  linearInt8Case({ m: 530, n: 136, k: 200, outliers: range(64, 3), mode: 1, bias: true }),
  linearInt8Case({ m: 512, n: 24, k: 1100, outliers: range(1024, 1), relu: true }),
  linearInt8Case({ m: 512, n: 24, k: 1100, outliers: range(1025, 1), kept: range(1025, 1) }),
];

const columnError: OpCase[] = [
  [1, 1],
  [33, 17],
  [20, 64],
  [100, 130],
].map(([n, k]) => ({
  name: `int8_column_error ${n} x ${k}`,
  op: 'int8_column_error',
  tensors: {
    // Column 0 is zero, and its codes are what they are.
    weight: input('weight', [n as number, k as number], {
      ...normal(n as number),
      at: Object.fromEntries(range(n as number, k as number).map((index) => [index, 0])),
    }),
    codes: input('i8', [align(n as number), align(k as number)], integers(3, -127, 127)),
    scales: input('f32', [align(n as number)], normal(4, 2)),
    out: output('f32', [k as number]),
  },
  attrs: {},
  hidden: HALVES,
}));

export const linearInt8Cases: readonly OpCase[] = [...products, ...columnError];
