import { attentionCase, type CacheShape, label, ropeValues } from './attention';
import {
  type CaseTensor,
  FLOATS,
  input,
  integers,
  normal,
  type OpCase,
  update,
  values,
} from './op-case';

const SHAPES: readonly CacheShape[] = [
  { heads: 4, kvHeads: 2, dim: 32, pageSize: 4 },
  { heads: 1, kvHeads: 1, dim: 6, pageSize: 5 },
  { heads: 3, kvHeads: 3, dim: 80, pageSize: 7 },
  { heads: 8, kvHeads: 2, dim: 128, pageSize: 64 },
];

const WIDTHS = [8, 4, 3] as const;
type Width = (typeof WIDTHS)[number];

/** Bytes of one head of one token: whole words, and two planes for 3 bits. */
function rowBytes(dim: number, bits: Width): number {
  const words = (width: number) => Math.ceil(dim / (32 / width));
  return 4 * (bits === 3 ? words(2) + words(1) : words(bits));
}

/** Steps that differ by channel, and zero points beyond the codes among them. */
function gridOf(channels: number, bits: number, seed: number): CaseTensor {
  const list = (of: (i: number) => number) => Array.from({ length: channels }, (_, i) => of(i));
  const steps = list((i) => (1 + ((i * seed) % 5)) * 2 ** (1 - bits));
  const zeros = list((i) => 2 ** (bits - 1) + ((i * seed) % 7) - 4);
  return input('f32', [2, channels], values(...steps, ...zeros));
}

/** Scales and smallest values of tokens, as fp16 holds them exactly. */
function pairs(seed: number, bits: number): number[] {
  return Array.from({ length: 31 }, (_, i) => [
    (1 + ((i * seed) % 9)) * 2 ** (-1 - bits),
    (((i * seed) % 13) - 16) / 8,
  ]).flat();
}

/** Either grids by channel, or scales by token and head. */
function scalesOf(
  { kvHeads, dim, pageSize }: CacheShape,
  bits: Width,
  fixed: boolean,
  pages: number,
  make: typeof input,
): Record<string, CaseTensor | null> {
  const grid = (seed: number): CaseTensor => gridOf(kvHeads * dim, bits, seed);
  const perToken = (seed: number): CaseTensor =>
    make('f16', [pages, kvHeads, pageSize, 2], values(...pairs(seed, bits)));
  return {
    key_grid: fixed ? grid(3) : null,
    value_grid: fixed ? grid(11) : null,
    key_scales: fixed ? null : perToken(21),
    value_scales: fixed ? null : perToken(22),
  };
}

const cacheAppend: OpCase[] = SHAPES.flatMap((shape) =>
  WIDTHS.flatMap((bits) =>
    [true, false].map((fixed): OpCase => {
      const { heads, kvHeads, dim, pageSize } = shape;
      const cache = [5, kvHeads, pageSize, rowBytes(dim, bits)];
      const rowStride = (heads + 2 * kvHeads) * dim;
      const { key_grid, value_grid, key_scales, value_scales } = scalesOf(
        shape,
        bits,
        fixed,
        5,
        update,
      );
      return {
        name: `cache_append_quantized ${label(shape)}, ${bits} bits, ${fixed ? 'static' : 'dynamic'}`,
        op: 'cache_append_quantized',
        tensors: {
          q: { ...update('hidden', [4, heads * dim], normal(1)), rowStride },
          k: { ...input('hidden', [4, kvHeads * dim], normal(2)), rowStride },
          v: { ...input('hidden', [4, kvHeads * dim], normal(3)), rowStride },
          positions: input('i32', [4], values(0, 7, -1, 19)),
          slots: input('i32', [4], values(0, 2 * pageSize + 1, -1, 5 * pageSize - 1)),
          // Rotation rounds, and a code may then fall on either side: static cases go without.
          rope: fixed ? null : input('f32', [20, dim], values(...ropeValues(20, dim))),
          key_grid: key_grid ?? null,
          value_grid: value_grid ?? null,
          key_cache: update('u8', cache, integers(4, 0, 255)),
          value_cache: update('u8', cache, integers(5, 0, 255)),
          key_scales: key_scales ?? null,
          value_scales: value_scales ?? null,
        },
        attrs: { bits },
        hidden: FLOATS,
      };
    }),
  ),
);

/** The same rows over the same pages as a case on a cache of floats, but for the cache. */
function quantized(
  plain: OpCase,
  decode: boolean,
  shape: CacheShape,
  bits: Width,
  fixed: boolean,
  queryBits: 0 | 8 | 4 = 0,
): OpCase {
  const { key_cache, value_cache, q, ...rest } = plain.tensors;
  const pages = key_cache?.shape[0] as number;
  const cache = [pages, shape.kvHeads, shape.pageSize, rowBytes(shape.dim, bits)];
  const kind = `${fixed ? 'static' : 'dynamic'}${queryBits ? `, queries in ${queryBits} bits` : ''}`;
  return {
    name: plain.name.replace('attention', `attention_quantized ${bits} bits, ${kind},`),
    op: 'attention_quantized',
    tensors: {
      q: q ?? null,
      query_grid: queryBits ? gridOf(shape.heads * shape.dim, queryBits, 13) : null,
      key_cache: input('u8', cache, integers(2, 0, 255)),
      value_cache: input('u8', cache, integers(3, 0, 255)),
      ...scalesOf(shape, bits, fixed, pages, input),
      ...rest,
    },
    attrs: {
      bits,
      head_dim: shape.dim,
      ...plain.attrs,
      decode: decode ? 1 : 0,
      query_bits: queryBits,
    },
    hidden: FLOATS,
  };
}

/** Shapes that the kernels of a decode step differ in. */
const DECODE_SHAPES: readonly CacheShape[] = [
  { heads: 6, kvHeads: 1, dim: 64, pageSize: 16 },
  { heads: 2, kvHeads: 2, dim: 80, pageSize: 64 },
  { heads: 10, kvHeads: 1, dim: 128, pageSize: 64 },
  { heads: 4, kvHeads: 4, dim: 128, pageSize: 32 },
];

const decode: OpCase[] = DECODE_SHAPES.flatMap((shape) => {
  const keys = [1, 64, 65, 1500, 17];
  const ends = keys.map((count, sequence) => [sequence, count - 1] as const);
  const plain = attentionCase(shape, keys, [...ends, [0, -1]]);
  return WIDTHS.flatMap((bits) =>
    [true, false].map((fixed) => quantized(plain, true, shape, bits, fixed)),
  );
});

const attention: OpCase[] = SHAPES.flatMap((shape) => {
  const rows = [
    [0, 0],
    [1, 18],
    [2, 129],
    [0, -1],
  ] as const;
  const decode = attentionCase(shape, [1, 19, 130], rows);
  const chunk = Array.from({ length: 40 }, (_, position) => [0, position] as const);
  const prefill = attentionCase(shape, [40], chunk);
  return WIDTHS.flatMap((bits) =>
    [true, false].flatMap((fixed) => [
      quantized(decode, true, shape, bits, fixed),
      quantized(prefill, false, shape, bits, fixed),
    ]),
  );
});

/** RPTQ's W4A8 and W4A4: queries on a grid, too. */
const roundedQueries: OpCase[] = SHAPES.flatMap((shape) => {
  const decode = attentionCase(shape, [20], [[0, 19]]);
  const prefill = attentionCase(
    shape,
    [20],
    [17, 18, 19].map((position) => [0, position] as const),
  );
  return ([8, 4] as const).flatMap((bits) => [
    quantized(decode, true, shape, bits, true, bits),
    quantized(prefill, false, shape, bits, true, bits),
  ]);
});

export const attentionQuantizedCases: readonly OpCase[] = [
  ...cacheAppend,
  ...attention,
  ...decode,
  ...roundedQueries,
];
