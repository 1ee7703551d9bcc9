import { type Device, type DType, ops, type Tensor } from 'fewbit';
import { noise } from './random-weights';

/** Tokens of a page. */
export const PAGE = 64;

/** How a cache keeps keys and values. */
export interface CacheKind {
  bits: 16 | ops.KvBits;
  /**
   * Scales of channels, those with keys whose errors make up for each other, or of tokens; means
   * nothing at 16 bits.
   */
  scales: 'static' | 'feedback' | 'dynamic';
}

/** Heads of a layer's cache. */
export interface CacheHeads {
  kvHeads: number;
  headDim: number;
}

/** Bytes of keys and values of one token in one layer. */
export function tokenBytes({ kvHeads, headDim }: CacheHeads, { bits, scales }: CacheKind): number {
  if (bits === 16) return 2 * kvHeads * headDim * 2;
  return 2 * kvHeads * (ops.kvRowBytes(headDim, bits) + (scales === 'dynamic' ? 4 : 0));
}

/** One layer's cache, full of zeros; `own` hears of its tensors. */
export function makeCache(
  device: Device,
  dtype: DType,
  { kvHeads, headDim }: CacheHeads,
  { bits, scales }: CacheKind,
  pages: number,
  own: (tensor: Tensor) => void,
): ops.LayerCache {
  const keep = (tensor: Tensor): Tensor => {
    own(tensor);
    return tensor;
  };
  const pair = (of: DType, width: number): { key: Tensor; value: Tensor } => {
    const side = (): Tensor => keep(device.allocate(of, [pages, kvHeads, PAGE, width]));
    return { key: side(), value: side() };
  };
  if (bits === 16) return pair(dtype, headDim);
  const codes = { ...pair('u8', ops.kvRowBytes(headDim, bits)), bits, headDim };
  if (scales === 'dynamic') return { ...codes, scales: pair('f16', 2) };
  const channels = kvHeads * headDim;
  const half = 2 ** (bits - 1);
  // The range from -2 to 2, which most values of unit noise are in.
  const grid = new Float32Array(2 * channels).fill(2 / half).fill(half, channels);
  const upload = (): Tensor => keep(device.from('f32', [2, channels], grid));
  const fixed = { ...codes, grids: { key: upload(), value: upload() } };
  if (scales === 'static') return fixed;
  const keyFeedback = keep(noise(device, 'f16', [kvHeads, headDim, headDim], 5, 0.1));
  return { ...fixed, keyFeedback };
}

/** Fills a cache with noise: codes go through the quantizer. */
export function fillCache(device: Device, dtype: DType, cache: ops.LayerCache, seed: number): void {
  if ('bits' in cache) {
    fillCodes(device, dtype, cache, seed);
  } else {
    ops.fillRandom(cache.key, 2 * seed, 1);
    ops.fillRandom(cache.value, 2 * seed + 1, 1);
  }
}

/** Tokens that go into a cache of codes at a time. */
const CHUNK = 8192;

function fillCodes(device: Device, dtype: DType, cache: ops.CodedLayerCache, seed: number): void {
  const { key, value, grids, scales, bits, headDim } = cache;
  const [pages, kvHeads, pageSize] = key.shape as [number, number, number];
  const tokens = pages * pageSize;
  const count = Math.min(CHUNK, tokens);
  const x = noise(device, dtype, [count, kvHeads * headDim], seed, 1);
  const slots = device.from(
    'i32',
    [tokens],
    Int32Array.from({ length: tokens }, (_, i) => i),
  );
  const into = [grids?.key, grids?.value, key, value, scales?.key, scales?.value];
  for (let first = 0; first < tokens; first += count) {
    const rows = Math.min(count, tokens - first);
    const part = x.rows(0, rows);
    const at = slots.rows(first, first + rows);
    device.run('cache_append_quantized', [part, part, part, at, at, undefined, ...into], [bits]);
  }
  x.dispose();
  slots.dispose();
}

/** Pages of every sequence, scattered over the cache, and the slots of the newest tokens. */
export function scatteredPages(
  batch: number,
  context: number,
): {
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
