import { codesOf, listed, mixed, thirds } from './affine-grids';
import { type Fill, FLOATS, input, integers, normal, type OpCase, output, update } from './op-case';

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

export const normQuantizeCases: readonly OpCase[] = [true, false].flatMap((centered) =>
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
