import type { DType } from '../../lib/native';
import {
  FLOATS,
  input,
  integers,
  normal,
  ONE,
  type OpCase,
  output,
  update,
  values,
} from './op-case';

const IDS = values(3, -1, 9, 0, 10, 7, -5, 3);

const embedding: OpCase[] = [1, 33, 64].flatMap((width) =>
  [0, 2].flatMap((offset) =>
    [0, 1].map((accumulate) => ({
      name: `embedding of ${width}, offset ${offset}, accumulate ${accumulate}`,
      op: 'embedding',
      tensors: {
        ids: input('i32', [8], IDS),
        table: input('weight', [10, width], normal(width)),
        scales: null,
        out: accumulate
          ? update('hidden', [8, width], normal(width + 1))
          : { ...output('hidden', [8, width]), access: 'update' as const },
      },
      attrs: { offset, accumulate },
      hidden: FLOATS,
    })),
  ),
);

const codedEmbedding: OpCase[] = [1, 33, 64].flatMap((width) =>
  [0, 1].map((accumulate) => ({
    name: `embedding of ${width} codes, accumulate ${accumulate}`,
    op: 'embedding',
    tensors: {
      ids: input('i32', [8], IDS),
      table: input('i8', [16, width + 15], integers(width, -127, 127)),
      scales: input('f32', [10], normal(width, 3)),
      out: accumulate
        ? update('hidden', [8, width], normal(width + 1))
        : { ...output('hidden', [8, width]), access: 'update' as const },
    },
    attrs: { offset: 1, accumulate },
    hidden: FLOATS,
  })),
);

const gatherRows: OpCase[] = (['f32', 'f16', 'bf16', 'i8', 'u8', 'i32', 'i64'] as DType[]).map(
  (dtype) => ({
    name: `gather_rows of ${dtype}`,
    op: 'gather_rows',
    tensors: {
      x: input(dtype, [9, 37], integers(5, 0, 100)),
      rows: input('i32', [6], values(5, -1, 8, 0, -7, 5)),
      out: output(dtype, [6, 37]),
    },
    attrs: {},
    hidden: ONE,
  }),
);

const gatherColumns: OpCase[] = [
  [1, 1],
  [37, 50],
  [200, 64],
].map(([rows, cols]) => ({
  name: `gather_columns ${rows} x ${cols}`,
  op: 'gather_columns',
  tensors: {
    x: input('weight', [rows as number, cols as number], normal(rows as number)),
    columns: input('i32', [3], values(0, (cols as number) - 1, (cols as number) >> 1)),
    out: output('weight', [3, rows as number]),
  },
  attrs: {},
  hidden: FLOATS,
}));

const tokenNll: OpCase[] = [1, 5, 320, 5003].map((vocab) => ({
  name: `token_nll over ${vocab}`,
  op: 'token_nll',
  tensors: {
    logits: input('f32', [5, vocab], normal(vocab, 8)),
    targets: input('i32', [5], values(0, vocab - 1, -1, vocab >> 1, -100)),
    out: output('f32', [5]),
  },
  attrs: {},
  hidden: ONE,
}));
tokenNll.push({
  name: 'token_nll of huge and infinite logits',
  op: 'token_nll',
  tensors: {
    logits: input('f32', [2, 3], values(1e30, 1, -1e30, 80, -Infinity, 90)),
    targets: input('i32', [2], values(0, 0)),
    out: output('f32', [2]),
  },
  attrs: {},
  hidden: ONE,
});

const decodeAdvance: OpCase[] = [1, 4, 64].map((pageSize) => ({
  name: `decode_advance, pages of ${pageSize}`,
  op: 'decode_advance',
  tensors: {
    tokens: input('i32', [5], values(11, 12, 13, 14, 15)),
    block_table: input('i32', [5, 3], values(4, 5, 6, 7, -1, -1, 0, 1, 2, 9, 8, 7, 3, 3, 3)),
    ids: update('i32', [5], values(1, 2, 3, 4, 5)),
    positions: update('i32', [5], values(0, pageSize - 1, -1, 3 * pageSize - 1, 2 * pageSize - 1)),
    slots: update('i32', [5], values(-1, 100, 101, 102, 103)),
    steps: update('i32', [5], values(0, 1, 2, 3, 4)),
  },
  attrs: { page_size: pageSize },
  hidden: ONE,
}));

export const lookupCases: readonly OpCase[] = [
  ...embedding,
  ...codedEmbedding,
  ...gatherRows,
  ...gatherColumns,
  ...tokenNll,
  ...decodeAdvance,
];
