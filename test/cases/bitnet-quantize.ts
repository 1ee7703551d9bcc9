import { alignBitnet as align } from '../../lib/ops';
import {
  type CaseTensor,
  type Fill,
  FLOATS,
  input,
  integers,
  normal,
  type OpCase,
  output,
  values,
} from './op-case';

interface QuantizeShape {
  rows: number;
  cols: number;
  fill: Fill;
  up?: Fill;
  /** With up: none, silu or relu2. */
  activation?: 0 | 1 | 2;
  weight?: Fill;
  /** Rows of x and up lie in one matrix of this width. */
  rowStride?: number;
  hidden?: OpCase['hidden'];
}

const ACTIVATIONS = ['', 'silu', 'relu2'];

function quantizeCase(name: string, shape: QuantizeShape): OpCase {
  const { rows, cols, fill, up, activation = 0, weight, rowStride } = shape;
  const spaced = (tensor: CaseTensor) => ({ ...tensor, ...(rowStride && { rowStride }) });
  const traits = [
    name,
    up && `${ACTIVATIONS[activation]} times up`,
    weight && 'norm',
    rowStride && `rows ${rowStride} apart`,
  ].filter(Boolean);
  return {
    name: [`bitnet_quantize ${rows} x ${cols}`, ...traits].join(', '),
    op: 'bitnet_quantize',
    tensors: {
      x: spaced(input('hidden', [rows, cols], fill)),
      up: up ? spaced(input('hidden', [rows, cols], up)) : null,
      weight: weight ? input('weight', [cols], weight) : null,
      codes: output('i8', [rows, align(cols)]),
      scales: output('f32', [rows]),
      sums: output('i32', [rows]),
    },
    attrs: { activation, eps: weight ? 1e-5 : 0 },
    hidden: shape.hidden ?? FLOATS,
  };
}

const { NaN: NOT_A_NUMBER, POSITIVE_INFINITY: INFINITE } = Number;

const whole = (seed: number) => integers(seed, -40, 40);

const ROWS_COLS = [
  [1, 1],
  [1, 17],
  [2, 64],
  [3, 65],
  [5, 640],
  [1, 2560],
  [4, 3200],
  [2, 6912],
  [3, 8640],
  [17, 128],
  [70, 96],
  [1, 28672],
] as const;

export const bitnetQuantizeCases: readonly OpCase[] = [
  ...ROWS_COLS.flatMap(([rows, cols]) => [
    quantizeCase('', { rows, cols, fill: normal(cols, 3) }),
    quantizeCase('', { rows, cols, fill: whole(cols), weight: normal(7) }),
    quantizeCase('', {
      rows,
      cols,
      fill: normal(cols, 3),
      up: normal(rows + 1),
      activation: 2,
      weight: normal(9),
    }),
  ]),
  quantizeCase('', { rows: 3, cols: 33, fill: normal(1), weight: normal(2) }),
  quantizeCase('', { rows: 3, cols: 200, fill: normal(1), up: normal(2), rowStride: 400 }),
  quantizeCase('', {
    rows: 4,
    cols: 100,
    fill: normal(1, 3),
    up: normal(2),
    activation: 1,
    rowStride: 203,
  }),
  quantizeCase('', {
    rows: 2,
    cols: 768,
    fill: normal(3, 3),
    up: normal(4),
    activation: 2,
    weight: normal(5),
    rowStride: 1536,
  }),
  // 127 / 1 and 127 / 127: halves are exact.
  quantizeCase('ties', { rows: 1, cols: 6, fill: values(0.5, -1, 0.25, -0.5, 0, 0.75) }),
  quantizeCase('ties of whole numbers', {
    rows: 1,
    cols: 6,
    fill: values(127, 0.5, 1.5, 2.5, -0.5, -1.5),
  }),
  quantizeCase('zeros', { rows: 2, cols: 40, fill: values(0) }),
  quantizeCase('zeros', { rows: 2, cols: 40, fill: values(0), weight: normal(1) }),
  quantizeCase('a single large value', {
    rows: 2,
    cols: 70,
    fill: { ...normal(4, 0.01), at: { 69: 60000, 70: -60000 } },
  }),
  // Below 1e-5 the scale no longer follows the values.
  quantizeCase('tiny values', { rows: 1, cols: 5, fill: values(1e-6, -3e-6, 5e-6, 0, -7e-7) }),
  quantizeCase('tiny values', {
    rows: 1,
    cols: 5,
    fill: values(1e-6, -3e-6, 5e-6, 0, -7e-7),
    weight: values(0.25),
  }),
  quantizeCase('NaN and infinities', {
    rows: 4,
    cols: 5,
    fill: {
      ...values(1, -2, 3, 0.5, 0.25),
      at: { 5: NOT_A_NUMBER, 11: INFINITE, 17: -INFINITE },
    },
  }),
  quantizeCase('NaN and infinities', {
    rows: 3,
    cols: 4,
    fill: { ...values(1, -2, 3, 0.5), at: { 5: NOT_A_NUMBER, 8: -INFINITE } },
    weight: values(1, 2, -3, 0.5),
  }),
  // 300^2 and 200^2 * 3 are beyond the range of fp16, but never rounded to it.
  quantizeCase('overflow of fp16', {
    rows: 2,
    cols: 4,
    fill: values(300, -300, 1, 200),
    up: values(1, 1, 1, 3),
    activation: 2,
    weight: values(1, 1, 2, 0.5),
  }),
];
