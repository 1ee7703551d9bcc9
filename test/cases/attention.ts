import { FLOATS, input, normal, type OpCase, output, update, values } from './op-case';

/** Heads of queries and of keys, their width, and the page size of the cache. */
export interface CacheShape {
  heads: number;
  kvHeads: number;
  dim: number;
  pageSize: number;
}

const SHAPES: readonly CacheShape[] = [
  { heads: 4, kvHeads: 2, dim: 32, pageSize: 4 },
  { heads: 1, kvHeads: 1, dim: 6, pageSize: 5 },
  { heads: 8, kvHeads: 1, dim: 64, pageSize: 16 },
  { heads: 3, kvHeads: 3, dim: 80, pageSize: 7 },
  { heads: 8, kvHeads: 2, dim: 128, pageSize: 64 },
];

export const label = ({ heads, kvHeads, dim, pageSize }: CacheShape) =>
  `${heads}/${kvHeads} heads of ${dim}, pages of ${pageSize}`;

/** cos and sin of every position of a table with `dim` columns. */
export function ropeValues(positions: number, dim: number): number[] {
  return Array.from({ length: positions * dim }, (_, i) => {
    const angle = Math.floor(i / dim) * 100 ** ((-2 * (i % (dim / 2))) / dim);
    return i % dim < dim / 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

const cacheAppend: OpCase[] = SHAPES.flatMap((shape) =>
  [true, false].map((rope): OpCase => {
    const { heads, kvHeads, dim, pageSize } = shape;
    const cache = [5, kvHeads, pageSize, dim];
    // q, k and v lie in one matrix, as a fused projection leaves them.
    const rowStride = (heads + 2 * kvHeads) * dim;
    return {
      name: `cache_append ${label(shape)}${rope ? ', rope' : ''}`,
      op: 'cache_append',
      tensors: {
        q: { ...update('hidden', [4, heads * dim], normal(1)), rowStride },
        k: { ...input('hidden', [4, kvHeads * dim], normal(2)), rowStride },
        v: { ...input('hidden', [4, kvHeads * dim], normal(3)), rowStride },
        positions: input('i32', [4], values(0, 7, -1, 19)),
        slots: input('i32', [4], values(0, 2 * pageSize + 1, -1, 5 * pageSize - 1)),
        rope: rope ? input('f32', [20, dim], values(...ropeValues(20, dim))) : null,
        key_cache: update('hidden', cache, normal(4)),
        value_cache: update('hidden', cache, normal(5)),
      },
      attrs: {},
      hidden: FLOATS,
    };
  }),
);

/** A block table for sequences of some keys: pages neither ascending nor contiguous. */
function pagesOf(keys: readonly number[], pageSize: number) {
  const width = Math.max(...keys.map((count) => Math.ceil(count / pageSize))) + 1;
  const pages = prime(keys.reduce((sum, count) => sum + Math.ceil(count / pageSize), 0) + 2);
  let next = 0;
  const table = keys.flatMap((count) =>
    Array.from({ length: width }, (_, i) => (i * pageSize < count ? (next++ * 7 + 3) % pages : -1)),
  );
  return { pages, width, table };
}

/** Rows as (sequence, position); a negative position is padding. */
export function attentionCase(
  shape: CacheShape,
  keys: readonly number[],
  rows: readonly (readonly [sequence: number, position: number])[],
): OpCase {
  const { heads, kvHeads, dim, pageSize } = shape;
  const { pages, width, table } = pagesOf(keys, pageSize);
  const cache = [pages, kvHeads, pageSize, dim];
  const spread = heads * dim + 2 * kvHeads * dim;
  return {
    name: `attention ${label(shape)}, keys ${keys}, ${rows.length} rows`,
    op: 'attention',
    tensors: {
      q: { ...input('hidden', [rows.length, heads * dim], normal(1, 1.5)), rowStride: spread },
      key_cache: input('hidden', cache, normal(2, 1.5)),
      value_cache: input('hidden', cache, normal(3)),
      block_table: input('i32', [keys.length, width], values(...table)),
      sequences: input('i32', [rows.length], values(...rows.map(([sequence]) => sequence))),
      positions: input('i32', [rows.length], values(...rows.map(([, position]) => position))),
      out: output('hidden', [rows.length, heads * dim]),
    },
    attrs: { scale: dim ** -0.5 },
    hidden: FLOATS,
  };
}

/** The smallest prime of at least n above 7, so that multiples of 7 run through all residues. */
function prime(n: number): number {
  let candidate = Math.max(n, 11);
  while ([2, 3, 5, 7].some((d) => candidate % d === 0) || /^(121|143|169)$/.test(`${candidate}`)) {
    candidate++;
  }
  return candidate;
}

const attention: OpCase[] = SHAPES.flatMap((shape) => {
  const keys = [1, 19, 130];
  const ends = keys.map((count, sequence) => [sequence, count - 1] as const);
  const chunk = [
    ...[10, 11, 12, 13].map((position) => [1, position] as const),
    ...[100, 101].map((position) => [2, position] as const),
    [0, -1] as const,
  ];
  return [
    attentionCase(shape, keys, [...ends, [0, -1]]),
    attentionCase(shape, keys, chunk),
    attentionCase(
      shape,
      [40],
      Array.from({ length: 40 }, (_, position) => [0, position] as const),
    ),
  ];
});

/** One row for each sequence, at its last key; a sequence without keys is padding. */
export function decodeCase(shape: CacheShape, keys: readonly number[], rope: boolean): OpCase {
  const { heads, kvHeads, dim, pageSize } = shape;
  const { pages, width, table } = pagesOf(keys, pageSize);
  const rows = keys.length;
  const rowStride = (heads + 2 * kvHeads) * dim;
  const slots = keys.map((count, row) => {
    const page = table[row * width + Math.floor((count - 1) / pageSize)] as number;
    return count > 0 ? page * pageSize + ((count - 1) % pageSize) : -1;
  });
  const positions = Math.max(...keys);
  const cache = [pages, kvHeads, pageSize, dim];
  return {
    name: `decode_attention ${label(shape)}, keys ${keys}${rope ? ', rope' : ''}`,
    op: 'decode_attention',
    tensors: {
      q: { ...input('hidden', [rows, heads * dim], normal(1, 1.5)), rowStride },
      k: { ...input('hidden', [rows, kvHeads * dim], normal(2, 1.5)), rowStride },
      v: { ...input('hidden', [rows, kvHeads * dim], normal(3)), rowStride },
      positions: input('i32', [rows], values(...keys.map((count) => count - 1))),
      slots: input('i32', [rows], values(...slots)),
      sequences: input('i32', [rows], values(...keys.keys())),
      block_table: input('i32', [rows, width], values(...table)),
      rope: rope
        ? input('f32', [positions, dim], { kind: 'values', values: ropeValues(positions, dim) })
        : null,
      key_cache: update('hidden', cache, normal(4, 1.5)),
      value_cache: update('hidden', cache, normal(5)),
      out: output('hidden', [rows, heads * dim]),
    },
    attrs: { scale: dim ** -0.5 },
    hidden: FLOATS,
  };
}

const DECODE_SHAPES: readonly CacheShape[] = [
  ...SHAPES,
  { heads: 20, kvHeads: 2, dim: 128, pageSize: 64 },
  { heads: 2, kvHeads: 1, dim: 256, pageSize: 16 },
];

const decodeAttention: OpCase[] = DECODE_SHAPES.flatMap((shape) => [
  decodeCase(shape, [1, 19, 130, 0, 16, 17], true),
  decodeCase(shape, [300, 2], false),
  decodeCase(shape, [1500], true),
]);

export const attentionCases: readonly OpCase[] = [...cacheAppend, ...attention, ...decodeAttention];
