import { type Device, type DType, ops, type Program, type Tensor } from 'fewbit';
import { noise } from './random-weights';
import { median } from './table';

/** The caches of a program together exceed the second-level cache by far, so every run finds it cold. */
const ROTATED_BYTES = 300e6;
const MAX_COPIES = 32;
const RUNS = 15;
const PAGE = 64;
/** Tokens that go into a cache of codes at a time. */
const CHUNK = 8192;

/** Attention of one layer in a decode step. */
export interface AttentionShape {
  heads: number;
  kvHeads: number;
  headDim: number;
  batch: number;
  /** Keys that every row attends to, the new one included. */
  context: number;
}

/** How a cache keeps keys and values. */
export interface CacheKind {
  bits: 16 | ops.KvBits;
  /** Scales of channels or of tokens; means nothing at 16 bits. */
  scales: 'static' | 'dynamic';
}

/** Bytes of keys and values of one token in one layer. */
export function tokenBytes({ kvHeads, headDim }: AttentionShape, kind: CacheKind): number {
  const { bits, scales } = kind;
  if (bits === 16) return 2 * kvHeads * headDim * 2;
  return 2 * kvHeads * (ops.kvRowBytes(headDim, bits) + (scales === 'dynamic' ? 4 : 0));
}

/**
 * Median microseconds of a decode step's attention (rotating, appending and attending), replayed as
 * a graph that walks over copies of the cache.
 */
export async function timeAttention(
  device: Device,
  dtype: DType,
  shape: AttentionShape,
  kind: CacheKind,
): Promise<number> {
  const { heads, kvHeads, headDim, batch, context } = shape;
  const bytes = batch * context * tokenBytes(shape, kind);
  const copies = Math.min(MAX_COPIES, Math.max(1, Math.ceil(ROTATED_BYTES / bytes)));
  const owned: Tensor[] = [];
  const own = (tensor: Tensor): Tensor => {
    owned.push(tensor);
    return tensor;
  };
  try {
    const places = placesOf(shape);
    const upload = (values: Int32Array, extents = [values.length]): Tensor =>
      own(device.from('i32', extents, values));
    const where = {
      positions: upload(new Int32Array(batch).fill(context - 1)),
      sequences: upload(Int32Array.from({ length: batch }, (_, row) => row)),
      slots: upload(places.slots),
      blockTable: upload(places.table, [batch, places.width]),
      rope: own(noise(device, 'f32', [context, headDim], 4, 0.5)),
    };
    const rows = (count: number, seed: number): Tensor =>
      own(noise(device, dtype, [batch, count * headDim], seed, 1));
    const [q, k, v] = [rows(heads, 1), rows(kvHeads, 2), rows(kvHeads, 3)];
    const caches = Array.from({ length: copies }, (_, i) =>
      makeCache(device, dtype, shape, kind, batch * places.width, i, own),
    );
    const scale = headDim ** -0.5;
    const program = device.record(() => {
      for (const cache of caches) ops.attend(q, k, v, { ...where, cache, scale, decode: true });
    });
    return (await replay(device, program)) / copies;
  } finally {
    for (const tensor of owned) tensor.dispose();
  }
}

/** Pages of every sequence, scattered over the cache, and the slots of the newest tokens. */
function placesOf({ batch, context }: AttentionShape): {
  table: Int32Array;
  slots: Int32Array;
  width: number;
} {
  const width = Math.ceil(context / PAGE);
  const pages = batch * width;
  // An odd step that shares no factor with the count visits every page once.
  let step = 1 + 2 * Math.floor(pages * 0.3);
  while (gcd(step, pages) !== 1) step += 2;
  const table = Int32Array.from({ length: pages }, (_, i) => (i * step) % pages);
  const slots = Int32Array.from({ length: batch }, (_, row) => {
    const page = table[row * width + width - 1] as number;
    return page * PAGE + ((context - 1) % PAGE);
  });
  return { table, slots, width };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

function makeCache(
  device: Device,
  dtype: DType,
  { kvHeads, headDim }: AttentionShape,
  { bits, scales }: CacheKind,
  pages: number,
  seed: number,
  own: (tensor: Tensor) => Tensor,
): ops.LayerCache {
  const side = (of: DType, width: number): Tensor =>
    own(device.allocate(of, [pages, kvHeads, PAGE, width]));
  if (bits === 16) {
    const random = (side: number): Tensor =>
      own(noise(device, dtype, [pages, kvHeads, PAGE, headDim], 2 * seed + side, 1));
    return { key: random(0), value: random(1) };
  }
  const width = ops.kvRowBytes(headDim, bits);
  const codes = { key: side('u8', width), value: side('u8', width), bits, headDim };
  const grid = (): Tensor => own(device.from('f32', [2, kvHeads * headDim], normalGrid(bits)));
  const normalGrid = (of: number): Float32Array => {
    const [channels, half] = [kvHeads * headDim, 2 ** (of - 1)];
    return new Float32Array(2 * channels).fill(2 / half).fill(half, channels);
  };
  const cache =
    scales === 'static'
      ? { ...codes, grids: { key: grid(), value: grid() } }
      : { ...codes, scales: { key: side('f16', 2), value: side('f16', 2) } };
  fillCodes(device, dtype, cache, kvHeads);
  return cache;
}

/** Puts random keys and values through the quantizer, so that the codes are those of noise. */
function fillCodes(
  device: Device,
  dtype: DType,
  cache: ops.CodedLayerCache,
  kvHeads: number,
): void {
  const [pages, , pageSize] = cache.key.shape as number[] as [number, number, number];
  const tokens = pages * pageSize;
  const count = Math.min(CHUNK, tokens);
  const x = noise(device, dtype, [count, kvHeads * cache.headDim], 5, 1);
  const slots = device.from(
    'i32',
    [tokens],
    Int32Array.from({ length: tokens }, (_, i) => i),
  );
  const { key, value, grids, scales, bits } = cache;
  for (let first = 0; first < tokens; first += count) {
    const rows = Math.min(count, tokens - first);
    const part = x.rows(0, rows);
    const at = slots.rows(first, first + rows);
    device.run(
      'cache_append_quantized',
      // biome-ignore format: one line for the rows, one for what they go into
      [part, part, part, at, at, undefined,
        grids?.key, grids?.value, key, value, scales?.key, scales?.value],
      [bits],
    );
  }
  x.dispose();
  slots.dispose();
}

/** Median microseconds of a program, which is disposed of. */
async function replay(device: Device, program: Program): Promise<number> {
  const into = new Float64Array(RUNS);
  const command = { kind: 'time', program: program.handle, flush: null } as const;
  await device.submit([{ ...command, into: new Float64Array(3) }]);
  await device.submit([{ ...command, into }]);
  program.dispose();
  return median(into) * 1000;
}
