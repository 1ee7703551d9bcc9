import { join } from 'node:path';
import type { RptqWidths } from '../../../../lib/quant/rptq';
import { readTensors } from '../../../support/golden';
import { roundEven, toHalf } from '../../../support/half';
import { type Matrix, PlainModel, type Taps, values, type Weights } from './plain-model';

/** Scale and zero point of every channel, in the original order of channels. */
export interface ChannelGrids {
  scales: number[];
  zeros: number[];
}

/** x on a grid of signed codes: (clamp(round(x / s) + z) - z) s. */
export function fakeQuantize(x: Matrix, { scales, zeros }: ChannelGrids, bits: number): Matrix {
  const half = 2 ** (bits - 1);
  return x.map((row) =>
    row.map((value, k) => {
      const [s, z] = [scales[k] as number, zeros[k] as number];
      const code = Math.min(Math.max(roundEven(value / s) + z, -half), half - 1);
      return (code - z) * s;
    }),
  );
}

/** Blocks of `width` columns times Hadamard's matrix (-1)^(bits that i and j share) / sqrt(width). */
export function rotate(x: Matrix, width: number): Matrix {
  const sign = (i: number, j: number): number => {
    let shared = i & j;
    let odd = 1;
    for (; shared > 0; shared >>= 1) if (shared & 1) odd = -odd;
    return odd;
  };
  return x.map((row) =>
    row.map((_, k) => {
      const first = k - (k % width);
      let sum = 0;
      for (let i = 0; i < width; i++) sum += sign(k - first, i) * (row[first + i] as number);
      return sum / Math.sqrt(width);
    }),
  );
}

/**
 * Keys whose channels are rounded in groups, each of which makes up for the errors of those before it
 * in its head: feedback[h, j, i] of an error of channel j for channel i.
 */
function roundKeys(
  x: Matrix,
  { scales, zeros }: ChannelGrids,
  { feedback, dim, bits }: { feedback: Float64Array; dim: number; bits: number },
): Matrix {
  return x.map((row) => {
    const out = row.slice();
    for (let head = 0; head < row.length; head += dim) {
      const at = (i: number): number => head + i;
      for (let begin = 0; begin < dim; ) {
        const end = begin + Math.ceil((dim - begin) / 2);
        for (let i = begin; i < end; i++) {
          let wanted = row[at(i)] as number;
          for (let j = 0; j < begin; j++) {
            const error = (out[at(j)] as number) - (row[at(j)] as number);
            wanted += error * toHalf(feedback[at(j) * dim + i] as number).value;
          }
          const own = { scales: [scales[at(i)] as number], zeros: [zeros[at(i)] as number] };
          out[at(i)] = fakeQuantize([Float64Array.of(wanted)], own, bits)[0]?.[0] as number;
        }
        begin = end;
      }
    }
    return out;
  });
}

/** What an RPTQ folder holds, put back in the order of the original: fake quantization of it. */
export class FakeQuantized {
  readonly model: PlainModel;
  /** Clusters of each layer's input as lists of original channels. */
  readonly clusters = new Map<string, number[][]>();
  /** By the layer that reads the input. */
  readonly inputs = new Map<string, ChannelGrids>();
  /** By attention and kind, of signed codes. */
  readonly cache = new Map<string, ChannelGrids>();
  readonly #stored: Weights;
  readonly #widths: RptqWidths;

  /** @param original gives biases and what is not quantized */
  constructor(original: PlainModel, folder: string, widths: RptqWidths) {
    const raw = readTensors(join(folder, 'model.safetensors'));
    this.#widths = widths;
    this.#stored = new Map([...raw].map(([name, tensor]) => [name, values(tensor)]));
    const weights = new Map(original.weights);
    // Gains of norms may have taken in what the weights after them are multiplied by.
    for (const name of original.weights.keys()) {
      const gains = /norm\.(weight|bias)$/.test(name) ? this.#stored.get(name) : undefined;
      if (gains) weights.set(name, gains);
    }
    for (const name of [...raw.keys()].filter((key) => key.endsWith('.qweight'))) {
      const layer = name.slice(0, -'.qweight'.length);
      weights.set(`${layer}.weight`, this.#weight(layer, original));
    }
    this.model = new PlainModel(original.config, weights);
    for (const [name, grid] of this.#stored) {
      const [, attention, kind] = /^(.*)\.(query|key|value)_grid$/.exec(name) ?? [];
      if (!attention || !kind) continue;
      const order = kind === 'value' ? this.#list(`${attention}.v_proj.output_order`) : undefined;
      const bits = kind === 'query' ? widths.query : widths.cache;
      this.cache.set(`${attention} ${kind}`, channelGrids(grid, order, 2 ** (bits - 1)));
    }
  }

  /** What the taps of the model do at run time. */
  taps(): Taps {
    const widths = this.#widths;
    return {
      input: ([name], x) => {
        const grids = this.inputs.get(name as string);
        const isNormed = this.#stored.has(`${name}.input_order`);
        const width = this.#list(`${name}.input_rotation`)?.[0];
        // Weights are those of the rotated input.
        const read = width ? rotate(x, width) : x;
        return grids ? fakeQuantize(read, grids, isNormed ? widths.norm : widths.inner) : x;
      },
      attention: (layer, kind, x) => {
        const grids = this.cache.get(`${layer} ${kind}`);
        const feedback = kind === 'key' ? this.#stored.get(`${layer}.key_feedback`) : undefined;
        if (grids && feedback) {
          const dim = feedback.length / (grids.scales.length as number);
          return roundKeys(x, grids, { feedback, dim, bits: widths.cache });
        }
        return grids ? fakeQuantize(x, grids, kind === 'query' ? widths.query : widths.cache) : x;
      },
    };
  }

  /** The original column at each place. */
  #inputOrder(layer: string, original: PlainModel, inputs: number): number[] {
    const own = this.#list(`${layer}.input_order`);
    if (own) return own;
    const producer = layer
      .replace(/o(ut)?_proj$/, 'v_proj')
      .replace(/fc2$/, 'fc1')
      .replace(/down_proj$/, 'gate_proj');
    const rows = this.#list(`${producer}.output_order`) as number[];
    if (!producer.endsWith('v_proj')) return rows;
    // Query heads of a group read the same values.
    const { num_attention_heads: heads } = original.config;
    const dim = inputs / heads;
    const group = heads / (rows.length / dim);
    return Array.from({ length: inputs }, (_, j) => {
      const head = Math.floor(j / dim);
      const kv = Math.floor(head / group);
      return head * dim + (rows[kv * dim + (j % dim)] as number) - kv * dim;
    });
  }

  #weight(layer: string, original: PlainModel): Float64Array {
    const [words, zeroWords, scales] = ['qweight', 'qzeros', 'scales'].map(
      (part) => this.#stored.get(`${layer}.${part}`) as Float64Array,
    ) as [Float64Array, Float64Array, Float64Array];
    const bits = this.#widths.weights;
    const sizes = this.#list(`${layer}.input_clusters`) as number[];
    const k = sizes.reduce((a, b) => a + b, 0);
    const n = (words.length * 32) / bits / k;
    const groups = scales.length / n;
    const order = this.#inputOrder(layer, original, k);
    const rows = this.#list(`${layer}.output_order`) ?? Array.from({ length: n }, (_, i) => i);
    const grids = this.#grids(layer, sizes, order);
    if (grids) this.inputs.set(layer, grids);
    const out = new Float64Array(n * k);
    for (let row = 0; row < n; row++) {
      for (let j = 0; j < k; j++) {
        const g = Math.floor((j * groups) / k);
        const code = field(words, { first: row, stride: n, index: j, bits });
        const zero = field(zeroWords, { first: (g * n * bits) / 32, stride: 1, index: row, bits });
        const channel = order[j] as number;
        const fold = grids ? (grids.scales[channel] as number) : 1;
        const value = ((code - zero) * (scales[g * n + row] as number)) / fold;
        out[(rows[row] as number) * k + channel] = value;
      }
    }
    return out;
  }

  #grids(layer: string, sizes: number[], order: number[]): ChannelGrids | undefined {
    const scales = this.#list(`${layer}.input_scales`);
    const zeros = this.#list(`${layer}.input_zeros`);
    const clusters: number[][] = [];
    const grids = { scales: [...order].fill(1), zeros: [...order].fill(0) };
    let place = 0;
    for (const [c, size] of sizes.entries()) {
      const members = order.slice(place, place + size);
      clusters.push(members);
      for (const channel of members) {
        grids.scales[channel] = scales?.[c] ?? 1;
        grids.zeros[channel] = zeros?.[c] ?? 0;
      }
      place += size;
    }
    this.clusters.set(layer, clusters);
    return scales && grids;
  }

  #list(name: string): number[] | undefined {
    const found = this.#stored.get(name);
    return found && [...found];
  }
}

function channelGrids(grid: Float64Array, order: number[] | undefined, half: number): ChannelGrids {
  const channels = grid.length / 2;
  const grids = { scales: new Array<number>(channels), zeros: new Array<number>(channels) };
  for (let place = 0; place < channels; place++) {
    const channel = order?.[place] ?? place;
    grids.scales[channel] = grid[place] as number;
    grids.zeros[channel] = (grid[channels + place] as number) - half;
  }
  return grids;
}

/** Field `index` of a stream of bits in words. */
function field(
  words: Float64Array,
  { first, stride, index, bits }: { first: number; stride: number; index: number; bits: number },
): number {
  let value = 0;
  for (let b = 0; b < bits; b++) {
    const bit = index * bits + b;
    const word = words[first + Math.floor(bit / 32) * stride] as number;
    value |= ((word >>> (bit % 32)) & 1) << b;
  }
  return value;
}
