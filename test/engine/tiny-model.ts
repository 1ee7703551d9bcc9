import { setImmediate as nextTurn } from 'node:timers/promises';
import { Device } from '../../lib/device';
import { KvCache } from '../../lib/engine/kv-cache';
import type { StreamDecoder } from '../../lib/engine/stream-decoder';
import type { CausalLM, ForwardBatch } from '../../lib/nn/causal-lm';
import * as ops from '../../lib/ops';
import type { Tensor } from '../../lib/tensor';

const [DIM, HEADS, KV_HEADS, LAYERS] = [32, 2, 1, 2];
const HEAD_DIM = DIM / HEADS;

export const VOCAB = 97;
/** A token whose embedding is NaN, and which is never generated. */
export const NAN_TOKEN = 96;

/**
 * A decoder with random weights, small enough to be recomputed for every token, on the real CPU
 * back end: rotary positions, grouped-query attention and a gated MLP.
 */
export class TinyModel implements CausalLM {
  readonly device = Device.open('cpu', { threads: 1 });
  readonly vocabSize = VOCAB;
  readonly maxPositions: number;
  readonly cacheShape = {
    layers: LAYERS,
    kvHeads: KV_HEADS,
    headDim: HEAD_DIM,
    dtype: 'f32' as const,
  };
  readonly #table: Tensor;
  readonly #head: Tensor;
  readonly #bias: Tensor;
  readonly #norm: Tensor;
  readonly #rope: Tensor;
  readonly #layers: Record<'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down', Tensor>[];
  #seed = 1;

  constructor({ maxPositions = 256 } = {}) {
    this.maxPositions = maxPositions;
    this.#table = this.#random(VOCAB, DIM, 1);
    this.#table.rows(NAN_TOKEN, VOCAB).write(new Float32Array(DIM).fill(Number.NaN));
    this.#head = this.#random(VOCAB, DIM, 0.5);
    const bias = new Float32Array(VOCAB);
    bias[NAN_TOKEN] = -1e9;
    this.#bias = this.device.from('f32', [VOCAB], bias);
    this.#norm = this.device.from('f32', [DIM], new Float32Array(DIM).fill(1));
    this.#rope = this.device.from('f32', [maxPositions, HEAD_DIM], rope(maxPositions));
    this.#layers = Array.from({ length: LAYERS }, () => ({
      q: this.#random(DIM, DIM, 0.3),
      k: this.#random(KV_HEADS * HEAD_DIM, DIM, 0.3),
      v: this.#random(KV_HEADS * HEAD_DIM, DIM, 0.3),
      o: this.#random(DIM, DIM, 0.3),
      gate: this.#random(2 * DIM, DIM, 0.3),
      up: this.#random(2 * DIM, DIM, 0.3),
      down: this.#random(DIM, 2 * DIM, 0.3),
    }));
  }

  forward(batch: ForwardBatch): Tensor {
    const x = ops.embedding(batch.ids, this.#table);
    const norm = (residual?: Tensor) => ops.rmsNorm(x, this.#norm, { eps: 1e-5, residual });
    let normed = norm();
    for (const [i, layer] of this.#layers.entries()) {
      const project = (weight: Tensor, input = normed) => ops.linear(input, weight, undefined);
      const [q, k, v] = [project(layer.q), project(layer.k), project(layer.v)];
      const cache = batch.cache[i] as ops.LayerCache;
      const where = { ...batch, rope: this.#rope, cache, scale: HEAD_DIM ** -0.5 };
      const mixed = ops.attend(q, k, v, where);
      normed = norm(project(layer.o, mixed));
      const gated = ops.siluMul(project(layer.gate), project(layer.up));
      normed = norm(project(layer.down, gated));
    }
    return normed;
  }

  logits(hidden: Tensor): Tensor {
    return ops.linear(hidden, this.#head, this.#bias);
  }

  /** Logits [tokens, VOCAB] of a sequence, computed eagerly, in one pass and with its own cache. */
  eagerLogits(ids: readonly number[]): Float32Array {
    const { device } = this;
    const cache = new KvCache(device, this.cacheShape, 1, ids.length);
    const places = Int32Array.from(ids.keys());
    const logits = device.scope(() => {
      const ints = (values: Int32Array, shape = [values.length]) =>
        device.adopt(device.from('i32', shape, values).handle);
      const hidden = this.forward({
        ids: ints(Int32Array.from(ids)),
        positions: ints(places),
        slots: ints(places),
        sequences: ints(new Int32Array(ids.length)),
        blockTable: ints(new Int32Array(1), [1, 1]),
        cache: cache.layers,
        decode: false,
      });
      return this.logits(hidden).readFloats();
    });
    cache.dispose();
    return logits;
  }

  /** Greedy continuation by full recomputation of every step. */
  greedy(prompt: readonly number[], count: number, penalty = 1): number[] {
    const ids = [...prompt];
    while (ids.length < prompt.length + count) {
      const last = this.eagerLogits(ids).slice(-VOCAB);
      for (const id of new Set(ids)) {
        const logit = last[id] as number;
        last[id] = logit > 0 ? logit / penalty : logit * penalty;
      }
      ids.push(last.indexOf(Math.max(...last)));
    }
    return ids.slice(prompt.length);
  }

  dispose(): void {
    this.device.dispose();
  }

  #random(rows: number, cols: number, scale: number): Tensor {
    const tensor = this.device.allocate('f32', [rows, cols]);
    return ops.fillRandom(tensor, this.#seed++, scale);
  }
}

function rope(positions: number): Float32Array {
  const table = new Float32Array(positions * HEAD_DIM);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < HEAD_DIM / 2; i++) {
      const angle = p * 10000 ** ((-2 * i) / HEAD_DIM);
      table[p * HEAD_DIM + i] = Math.cos(angle);
      table[p * HEAD_DIM + HEAD_DIM / 2 + i] = Math.sin(angle);
    }
  }
  return table;
}

/** A reproducible prompt of ordinary tokens. */
export function promptOf(length: number, seed = 1): number[] {
  return Array.from({ length }, (_, i) => (seed * 31 + i * i * 7 + i * 13) % (VOCAB - 1));
}

/** Token i is `<i>`. */
export const spelling = {
  streamDecoder(): StreamDecoder {
    return { push: (id) => `<${id}>`, flush: () => '' };
  },
};

/**
 * Waits until a condition holds, and throws if it does not within five seconds. Memory, for one, is
 * free a moment after the promise of the job that used it resolves.
 */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never: ${condition}`);
    await nextTurn();
  }
}
