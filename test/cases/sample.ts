import { input, normal, ONE, type OpCase, output, update, values } from './op-case';

/** temperature, top_k, top_p, min_p, repetition_penalty, one row each. */
const PARAMS = [
  [0, 0, 1, 0, 1],
  [1, 0, 1, 0, 1],
  [0.7, 0, 1, 0, 1.3],
  [1, 5, 1, 0, 1],
  [1, 0, 0.8, 0, 1],
  [1.3, 0, 1, 0.1, 1],
  [0.9, 40, 0.9, 0.02, 1.1],
  [-1, 0, 1, 0, 1],
  [0, 0, 1, 0, 2],
  [1e6, 0, 1, 0, 1],
  [1, 1, 1, 0, 1],
  [1, 0, 1e-6, 0, 1],
];

const rows = PARAMS.length;

/** Every third token was seen. */
const seen = values(1, 0, 0);

const drawn: OpCase[] = [2, 5, 331, 4096, 20011].flatMap((vocab) =>
  (vocab < 20000 ? [0, 9] : [1]).map((step) => ({
    name: `sample of ${vocab}, step ${step}`,
    op: 'sample',
    tensors: {
      logits: input('f32', [rows, vocab], normal(vocab + step, 3)),
      params: input('f32', [rows, 5], values(...PARAMS.flat())),
      seeds: input('i64', [rows], values(1, 2, -5, 2 ** 40 + 3, 0, 7, 8, 9, 10, 11, 12, 13)),
      steps: input('i32', [rows], values(step)),
      seen: update('u8', [rows, vocab], seen),
      out: output('i32', [rows]),
    },
    attrs: {},
    hidden: ONE,
  })),
);

const special: OpCase[] = [
  {
    name: 'sample of ties, infinities and NaN',
    op: 'sample',
    tensors: {
      logits: input(
        'f32',
        [6, 4],
        values(
          ...[1, 3, 3, 0],
          ...[-Infinity, -Infinity, 2, -Infinity],
          ...[1, Number.NaN, 2, 3],
          ...[-Infinity, -Infinity, -Infinity, -Infinity],
          ...[2, 2, 2, 1],
          ...[1, 2, 3, 4],
        ),
      ),
      // Row 4: top-k 1 with three equals keeps all of them.
      params: input(
        'f32',
        [6, 5],
        values(
          ...[0, 0, 1, 0, 1],
          ...[1, 0, 1, 0, 1],
          ...[1, 0, 1, 0, 1],
          ...[1, 0, 1, 0, 1],
          ...[1, 1, 1, 0, 1],
          ...[-1, 0, 1, 0, 1],
        ),
      ),
      seeds: input('i64', [6], values(3)),
      steps: input('i32', [6], values(0)),
      seen: null,
      out: output('i32', [6]),
    },
    attrs: {},
    hidden: ONE,
  },
];

export const sampleCases: readonly OpCase[] = [...drawn, ...special];
