import type { CaseTensor, Fill } from './op-case';
import { HALVES, input, integers, normal, type OpCase, output, update, values } from './op-case';

const align = (extent: number): number => Math.ceil(extent / 16) * 16;

/** Outlier columns: every `step`-th value is large. */
function spikes(rows: number, cols: number, step: number): Record<number, number> {
  const at: Record<number, number> = {};
  for (let i = step - 1; i < rows * cols; i += step) at[i] = i % 2 ? 6.5 : -9;
  return at;
}

function quantizeCase(
  name: string,
  {
    rows,
    cols,
    fill,
    threshold = 6,
    mode = 0,
  }: {
    rows: number;
    cols: number;
    fill: Fill;
    threshold?: number;
    mode?: number;
  },
): OpCase {
  const split = threshold > 0;
  return {
    name: `int8_quantize ${name}, threshold ${threshold}, mode ${mode}`,
    op: 'int8_quantize',
    tensors: {
      x: input('hidden', [rows, cols], fill),
      codes: output('i8', [rows, align(cols)]),
      scales: output('f32', [rows]),
      columns: split ? { ...output('i32', [cols]), lengthIn: 'count' } : null,
      count: split ? output('i32', [1]) : null,
      stats: update('i64', [2], values(5, 6)),
    },
    attrs: { threshold, mode },
    hidden: HALVES,
  };
}

const ROWS_COLS = [
  [1, 1],
  [1, 17],
  [2, 3],
  [3, 31],
  [7, 64],
  [8, 499],
  [9, 5],
  [16, 128],
  [17, 4097],
  [33, 15],
] as const;

const bothModes = [0, 1];
const quantize: OpCase[] = [
  ...ROWS_COLS.flatMap(([rows, cols]) => [
    quantizeCase(`${rows} x ${cols}`, { rows, cols, fill: normal(cols), threshold: 0 }),
    ...bothModes.map((mode) =>
      quantizeCase(`${rows} x ${cols}`, {
        rows,
        cols,
        fill: { ...normal(cols), at: spikes(rows, cols, 97) },
        mode,
      }),
    ),
  ]),
  ...bothModes.flatMap((mode) => [
    quantizeCase('zeros', { rows: 3, cols: 40, fill: values(0), mode }),
    // Row 1 is zero, the others are not.
    quantizeCase('a zero row', {
      rows: 3,
      cols: 8,
      fill: {
        ...normal(3),
        at: Object.fromEntries(Array.from({ length: 8 }, (_, i) => [8 + i, 0])),
      },
      mode,
    }),
    quantizeCase('only outliers', { rows: 2, cols: 33, fill: values(7, -8, 6), mode }),
    quantizeCase('6 exactly and one fp16 step below', {
      rows: 2,
      cols: 6,
      fill: values(6, 5.99609375, -6, -5.99609375, 1, 0, 2, 1, 1, 5, -3, 0.5),
      mode,
    }),
    quantizeCase('6 exactly and one bf16 step below', {
      rows: 1,
      cols: 4,
      fill: values(6, 5.96875, -6, -5.96875),
      mode,
    }),
    quantizeCase('a threshold that fp16 does not hold', {
      rows: 1,
      cols: 5,
      fill: values(2.69921875, 2.701171875, -2.703125, 1, 0.3),
      threshold: 2.7,
      mode,
    }),
    quantizeCase('NaN and infinities', {
      rows: 4,
      cols: 5,
      fill: {
        ...values(1, -2, 3, 0.5, 0.25),
        at: { 5: Number.NaN, 11: Number.POSITIVE_INFINITY, 17: Number.NEGATIVE_INFINITY },
      },
      mode,
    }),
    quantizeCase('many outliers', {
      rows: 4,
      cols: 700,
      fill: { ...normal(9), at: spikes(4, 700, 4) },
      mode,
    }),
  ]),
  quantizeCase('NaN and infinities', {
    rows: 3,
    cols: 4,
    fill: { ...values(1, -2, 3, 0.5), at: { 1: Number.NaN, 6: Number.NEGATIVE_INFINITY } },
    threshold: 0,
  }),
  quantizeCase('subnormal values', { rows: 1, cols: 4, fill: values(6e-8, -1.2e-7, 0, 1.8e-7) }),
];

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

const linear: OpCase[] = [
  ...SIZES.flatMap(([m, n, k], i) =>
    bothModes.map((mode) =>
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

export const int8Cases: readonly OpCase[] = [...quantize, ...linear, ...columnError];
