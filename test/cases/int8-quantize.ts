import { alignInt8 as align } from '../../lib/ops';
import { type Fill, HALVES, input, normal, type OpCase, output, update, values } from './op-case';

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

/** paper, bitsandbytes */
const bothModes = [0, 1];
export const int8QuantizeCases: readonly OpCase[] = [
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
    // On CUDA the blocks of many rows tell each other what they find: the same columns, a few that
    // differ, more than fit a message; with one row each, or two.
    ...[
      { rows: 64, cols: 512, step: 256 },
      { rows: 60, cols: 300, step: 97 },
      { rows: 70, cols: 1000, step: 20 },
      { rows: 300, cols: 200, step: 333 },
    ].map(({ rows, cols, step }) =>
      quantizeCase(`${rows} x ${cols}, every ${step}th an outlier`, {
        rows,
        cols,
        fill: { ...normal(cols), at: spikes(rows, cols, step) },
        mode,
      }),
    ),
  ]),
  quantizeCase('NaN and infinities', {
    rows: 3,
    cols: 4,
    fill: { ...values(1, -2, 3, 0.5), at: { 1: Number.NaN, 6: Number.NEGATIVE_INFINITY } },
    threshold: 0,
  }),
  quantizeCase('subnormal values', { rows: 1, cols: 4, fill: values(6e-8, -1.2e-7, 0, 1.8e-7) }),
];
