import { attentionCase, type CacheShape, decodeCase, label, ropeValues } from './attention';
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
      query_bits: queryBits,
    },
    hidden: FLOATS,
  };
}

interface DecodeKind {
  bits: Width;
  fixed: boolean;
  queryBits?: 8 | 4;
  feedback?: boolean;
}

/** A decode step over a cache of few bits: the rows and pages of a step over one of floats. */
function quantizedDecode(
  plain: OpCase,
  shape: CacheShape,
  { bits, fixed, queryBits, feedback }: DecodeKind,
): OpCase {
  const { slots: _, key_cache, value_cache, out, ...rest } = plain.tensors;
  const { heads, kvHeads, dim, pageSize } = shape;
  const pages = key_cache?.shape[0] as number;
  const cache = [pages, kvHeads, pageSize, rowBytes(dim, bits)];
  const { key_grid, value_grid, ...scales } = scalesOf(shape, bits, fixed, pages, update);
  const kind = [
    `${bits} bits`,
    fixed ? 'static' : 'dynamic',
    ...(queryBits ? [`queries in ${queryBits} bits`] : []),
    ...(feedback ? ['feedback'] : []),
  ].join(', ');
  return {
    name: plain.name.replace('decode_attention', `decode_attention_quantized ${kind},`),
    op: 'decode_attention_quantized',
    tensors: {
      ...rest,
      query_grid: queryBits ? gridOf(heads * dim, queryBits, 13) : null,
      key_grid: key_grid ?? null,
      value_grid: value_grid ?? null,
      feedback: feedback ? input('f16', [kvHeads, dim, dim], normal(9, 0.2)) : null,
      key_cache: update('u8', cache, integers(2, 0, 255)),
      value_cache: update('u8', cache, integers(3, 0, 255)),
      ...scales,
      out: out ?? null,
    },
    attrs: { bits, ...plain.attrs, query_bits: queryBits ?? 0 },
    hidden: FLOATS,
  };
}

/** Moves the last row to where its sequence has no page. */
function withoutPage(opCase: OpCase): OpCase {
  const { positions, block_table, key_cache } = opCase.tensors;
  const width = block_table?.shape[1] as number;
  const pageSize = key_cache?.shape[2] as number;
  const fill = positions?.fill;
  if (fill?.kind !== 'values') throw new Error(`${opCase.name} has no list of positions`);
  const moved = [...fill.values.slice(0, -1), (width - 1) * pageSize];
  return {
    ...opCase,
    name: `${opCase.name}, a page missing`,
    tensors: {
      ...opCase.tensors,
      positions: input('i32', [moved.length], values(...moved)),
    },
  };
}

/** Shapes that the kernels of a decode step differ in. */
const DECODE_SHAPES: readonly CacheShape[] = [
  { heads: 6, kvHeads: 1, dim: 64, pageSize: 16 },
  { heads: 2, kvHeads: 2, dim: 80, pageSize: 64 },
  { heads: 10, kvHeads: 1, dim: 128, pageSize: 64 },
  { heads: 4, kvHeads: 4, dim: 128, pageSize: 32 },
];

const decode: OpCase[] = [...SHAPES, ...DECODE_SHAPES].flatMap((shape) => {
  // The others have no kernel of their own on CUDA, but for one: the ops that it is made of are tested
  // with all widths.
  const own = DECODE_SHAPES.includes(shape);
  const short = (rope: boolean) => decodeCase(shape, [1, 64, 65, 0, 17], rope);
  const long = decodeCase(shape, [own ? 1500 : 70, 2], false);
  return (own ? WIDTHS : ([4] as const)).flatMap((bits) => [
    ...[true, false].flatMap((fixed) => [
      // Rotation rounds, and a code may then fall on either side: static cases go without.
      quantizedDecode(short(!fixed), shape, { bits, fixed }),
      withoutPage(quantizedDecode(long, shape, { bits, fixed })),
    ]),
    quantizedDecode(short(true), shape, { bits, fixed: true, feedback: true }),
  ]);
});

const attention: OpCase[] = SHAPES.flatMap((shape) => {
  const rows = [
    [0, 0],
    [1, 18],
    [2, 129],
    [0, -1],
  ] as const;
  const few = attentionCase(shape, [1, 19, 130], rows);
  const chunk = Array.from({ length: 40 }, (_, position) => [0, position] as const);
  const prefill = attentionCase(shape, [40], chunk);
  return WIDTHS.flatMap((bits) =>
    [true, false].flatMap((fixed) => [
      quantized(few, shape, bits, fixed),
      quantized(prefill, shape, bits, fixed),
    ]),
  );
});

/** RPTQ's W4A8 and W4A4: queries on a grid, too. */
const roundedQueries: OpCase[] = SHAPES.flatMap((shape) => {
  const decode = decodeCase(shape, [20], false);
  const prefill = attentionCase(
    shape,
    [20],
    [17, 18, 19].map((position) => [0, position] as const),
  );
  return ([8, 4] as const).flatMap((bits) => [
    quantizedDecode(decode, shape, { bits, fixed: true, queryBits: bits }),
    quantized(prefill, shape, bits, true, bits),
  ]);
});

export const attentionQuantizedCases: readonly OpCase[] = [
  ...cacheAppend,
  ...attention,
  ...decode,
  ...roundedQueries,
];
