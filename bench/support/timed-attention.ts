import { type Device, type DType, ops, type Program, type Tensor } from 'fewbit';
import {
  type CacheHeads,
  type CacheKind,
  fillCache,
  makeCache,
  scatteredPages,
  tokenBytes,
} from './layer-cache';
import { noise } from './random-weights';
import { median } from './table';

/** The caches of a program together exceed the second-level cache by far, so every run finds it cold. */
const ROTATED_BYTES = 300e6;
const MAX_COPIES = 32;
const RUNS = 15;

/** Attention of one layer in a decode step. */
export interface AttentionShape extends CacheHeads {
  heads: number;
  batch: number;
  /** Keys that every row attends to, the new one included. */
  context: number;
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
    const places = scatteredPages(batch, context);
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
    const caches = Array.from({ length: copies }, (_, i) => {
      const cache = makeCache(device, dtype, shape, kind, batch * places.width, own);
      fillCache(device, dtype, cache, i + 1);
      return cache;
    });
    const scale = headDim ** -0.5;
    const program = device.record(() => {
      for (const cache of caches) ops.attend(q, k, v, { ...where, cache, scale, decode: true });
    });
    return (await replay(device, program)) / copies;
  } finally {
    for (const tensor of owned) tensor.dispose();
  }
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
