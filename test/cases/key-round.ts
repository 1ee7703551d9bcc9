import { ropeValues } from './attention';
import { FLOATS, input, normal, type OpCase, update, values } from './op-case';

const SHAPES = [
  { heads: 4, kvHeads: 2, dim: 64 },
  { heads: 1, kvHeads: 1, dim: 6 },
  { heads: 3, kvHeads: 3, dim: 80 },
  { heads: 2, kvHeads: 1, dim: 128 },
] as const;

/** Rows enough for kernels that take several at a time, and a last group that is not full. */
const ROWS = [3, 131] as const;

export const keyRoundCases: readonly OpCase[] = SHAPES.flatMap(({ heads, kvHeads, dim }) =>
  ([4, 3] as const).flatMap((bits) =>
    ROWS.flatMap((rows) =>
      [true, false].map((rope): OpCase => {
        const channels = kvHeads * dim;
        const rowStride = (heads + 2 * kvHeads) * dim;
        const steps = Array.from({ length: channels }, (_, i) => (3 + ((i * 3) % 5)) / 2 ** bits);
        const zeros = Array.from(
          { length: channels },
          (_, i) => 2 ** (bits - 1) + ((i * 3) % 5) - 2,
        );
        const positions = Array.from({ length: rows }, (_, i) => (i === 1 ? -1 : (i * 7) % 20));
        return {
          name: `key_round ${heads}/${kvHeads} heads of ${dim}, ${bits} bits, ${rows} rows${rope ? ', rope' : ''}`,
          op: 'key_round',
          tensors: {
            q: { ...update('hidden', [rows, heads * dim], normal(1)), rowStride },
            k: { ...update('hidden', [rows, channels], normal(2)), rowStride },
            positions: input('i32', [rows], values(...positions)),
            rope: rope ? input('f32', [20, dim], values(...ropeValues(20, dim))) : null,
            grid: input('f32', [2, channels], values(...steps, ...zeros)),
            feedback: input('f16', [kvHeads, dim, dim], normal(3, 0.2)),
          },
          attrs: { bits },
          hidden: FLOATS,
        };
      }),
    ),
  ),
);
