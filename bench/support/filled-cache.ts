import { type CausalLanguageModel, FewbitError, type Program, type Tensor } from 'fewbit';
import { type CacheKind, makeCache, PAGE, scatteredPages, tokenBytes } from './layer-cache';
import { median } from './table';

/** A batch of sequences that fill a cache, and what a decode step of theirs takes. */
export interface Filled {
  batch: number;
  cacheBytes: number;
  /** All memory in use: weights, cache, activations and workspace. */
  usedBytes: number;
  /** Milliseconds of a step. */
  step: number;
}

const STEPS = 5;
/** Share of the batch that is given up when the last one did not fit. */
const BACK = 0.02;

type Transformer = CausalLanguageModel['transformer'];

/**
 * Finds the largest batch of sequences of `context` tokens that a device has memory for, beside a
 * model that is loaded, and runs decode steps at their ends. The first guess is what the free memory
 * would hold; while it, the activations and the workspace do not fit together, a smaller one is tried.
 */
export async function fillDevice(
  model: Transformer,
  kind: CacheKind,
  context: number,
): Promise<Filled> {
  const { device, cacheShape } = model;
  const pages = Math.ceil(context / PAGE);
  const sequenceBytes = cacheShape.layers * pages * PAGE * tokenBytes(cacheShape, kind);
  let batch = Math.floor(device.memory().free / sequenceBytes);
  while (batch > 0) {
    try {
      const filled = await decodeSteps(model, kind, batch, context);
      return { ...filled, batch, cacheBytes: batch * sequenceBytes };
    } catch (error) {
      if (!(error instanceof FewbitError) || error.code !== 'ERR_FEWBIT_OUT_OF_MEMORY') throw error;
      batch -= Math.max(1, Math.floor(batch * BACK));
    }
  }
  throw new Error(`not even one sequence of ${context} tokens fits beside the model`);
}

async function decodeSteps(
  model: Transformer,
  kind: CacheKind,
  batch: number,
  context: number,
): Promise<{ step: number; usedBytes: number }> {
  const { device, cacheShape } = model;
  const owned: Tensor[] = [];
  let program: Program | undefined;
  try {
    const places = scatteredPages(batch, context);
    const cache = Array.from({ length: cacheShape.layers }, () =>
      makeCache(device, cacheShape.dtype, cacheShape, kind, batch * places.width, (tensor) =>
        owned.push(tensor),
      ),
    );
    const upload = (values: Int32Array, extents = [values.length]): Tensor => {
      const tensor = device.from('i32', extents, values);
      owned.push(tensor);
      return tensor;
    };
    const rows = {
      ids: upload(Int32Array.from({ length: batch }, (_, row) => 5 + ((row * 31) % 3000))),
      positions: upload(new Int32Array(batch).fill(context - 1)),
      slots: upload(places.slots),
      sequences: upload(Int32Array.from({ length: batch }, (_, row) => row)),
      blockTable: upload(places.table, [batch, places.width]),
    };
    program = device.record(() => {
      model.logits(model.forward({ ...rows, cache, decode: true }));
    });
    const into = new Float64Array(STEPS);
    const command = { kind: 'time', program: program.handle, flush: null } as const;
    await device.submit([{ ...command, into: new Float64Array(1) }]);
    await device.submit([{ ...command, into }]);
    return { step: median(into), usedBytes: device.memory().used };
  } finally {
    program?.dispose();
    for (const tensor of owned) tensor.dispose();
  }
}
