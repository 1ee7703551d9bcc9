import { codesOf, listed, mixed, powers, thirds } from './affine-grids';
import { type CaseTensor, type Fill, FLOATS, input, normal, type OpCase, values } from './op-case';

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
  /** Width of the blocks of columns that are rotated. */
  rotation?: number;
  /** Rows of x and up lie in one matrix of this width. */
  rowStride?: number;
  hidden?: OpCase['hidden'];
}

function quantizeCase(name: string, shape: QuantizeShape): OpCase {
  const { rows, cols, bits, fill, up, activation = 0, order, rotation = 0, rowStride } = shape;
  const count = order?.length ?? cols;
  const spaced = (tensor: CaseTensor) => ({ ...tensor, ...(rowStride && { rowStride }) });
  const gated = up && `${['', 'silu ', 'relu2 '][activation]}times up`;
  const traits = [
    `${bits} bits`,
    name,
    gated,
    order && `${count} ordered`,
    rotation > 0 && `blocks of ${rotation} rotated`,
    rowStride && 'spaced',
  ];
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
    attrs: { activation, bits, rotation },
    hidden: shape.hidden ?? FLOATS,
  };
}

const { NaN: NOT_A_NUMBER, POSITIVE_INFINITY: INFINITE } = Number;

export const affineQuantizeCases: readonly OpCase[] = ([8, 4] as const).flatMap((bits) => [
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
  ...[8, 16, 32, 64, 128, 256].map((rotation) =>
    quantizeCase('', {
      rows: 3,
      cols: 768,
      bits,
      fill: normal(14 + rotation, 2),
      grid: thirds(768, 0.25),
      rotation,
    }),
  ),
  quantizeCase('', { rows: 70, cols: 40, bits, fill: normal(15, 3), rotation: 8 }),
  quantizeCase('', { rows: 2, cols: 11008, bits, fill: normal(16, 3), rotation: 256 }),
  quantizeCase('', {
    rows: 3,
    cols: 96,
    bits,
    fill: normal(17, 3),
    up: normal(18),
    rotation: 32,
    // Rows that no vector can be read from.
    rowStride: 193,
  }),
  quantizeCase('', {
    rows: 3,
    cols: 512,
    bits,
    fill: normal(19),
    up: normal(20),
    activation: 2,
    grid: thirds(512, 0.25),
    rotation: 256,
  }),
  quantizeCase('', {
    rows: 3,
    cols: 352,
    bits,
    fill: normal(23, 3),
    up: normal(24),
    activation: 1,
    grid: thirds(352, 0.25),
    rotation: 32,
    rowStride: 704,
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
