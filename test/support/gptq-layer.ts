/** One GPTQ layer by the definition of the format, packed bit by bit without code of the library. */
import { Device } from '../../lib/device';
import type { Command, DType } from '../../lib/native';
import type { ModuleContext, StoredTensor } from '../../lib/nn/module';
import type { WeightSource } from '../../lib/nn/weight-source';
import type { GptqBits } from '../../lib/ops';
import { GptqCheckpointConfig, LinearGptq } from '../../lib/quant/gptq';
import type { Tensor } from '../../lib/tensor';
import { encode } from './host-tensor';
import { integer } from './random';
import { normals } from './tensors';

export type Format = 'gptq' | 'gptq_v2' | 'gptq_p';

export interface PlainLayer {
  bits: GptqBits;
  n: number;
  k: number;
  groupSize: number;
  sym: boolean;
  /** [K][N] and [G][N]. */
  codes: number[][];
  zeros: number[][];
  scales: number[][];
  groupOf: number[];
  bias?: number[];
}

export interface LayerSize {
  bits: GptqBits;
  n: number;
  k: number;
  /** -1 for whole rows. */
  groupSize: number;
}

/** Normal numbers that half precision holds exactly: they lie below 2048 units. */
const halves = (count: number, seed: number, unit: number): number[] =>
  Array.from(normals(count, seed, 300), (value) => Math.round(value) * unit);

/** Random codes, scales that half precision holds exactly, and groups in order or mixed. */
export function plainLayer(
  { bits, n, k, groupSize: size }: LayerSize,
  { sym = true, mixed = false, bias = false } = {},
): PlainLayer {
  const groupSize = size === -1 ? k : size;
  const groups = Math.ceil(k / groupSize);
  const code = integer(bits * k + n, 0, 2 ** bits - 1);
  const matrix = <T>(rows: number, next: () => T): T[][] =>
    Array.from({ length: rows }, () => Array.from({ length: n }, next));
  const [scales, offsets] = [halves(groups * n, k, 2 ** -14), halves(n, n, 2 ** -8)];
  const groupOf = Array.from({ length: k }, (_, i) => Math.floor(i / groupSize));
  // Every column once: 37 has no factor in common with k.
  const shuffled = groupOf.map((_, i) => groupOf[(i * 37 + 5) % k] as number);
  return {
    bits,
    n,
    k,
    groupSize,
    sym,
    codes: matrix(k, code),
    zeros: matrix(groups, sym ? () => 2 ** (bits - 1) : code),
    scales: matrix(groups, () => scales.pop() as number),
    groupOf: mixed ? shuffled : groupOf,
    ...(bias ? { bias: offsets } : {}),
  };
}

/** The weight f32[K, N] that the layer stands for. */
export function dense({ codes, zeros, scales, groupOf }: PlainLayer): Float32Array {
  return Float32Array.from(
    codes.flatMap((row, i) => {
      const group = groupOf[i] as number;
      const [own, zero] = [scales[group], zeros[group]] as [number[], number[]];
      // Without the sign of a zero.
      return row.map((code, col) => (own[col] as number) * (code - (zero[col] as number)) + 0);
    }),
  );
}

/** Words of codes that follow each other in a stream of bits, or in planes of 32 codes. */
export function packStream(codes: readonly number[], bits: number, planar: boolean): number[] {
  const stream: number[] = [];
  const put = (code: number, from: number, width: number): void => {
    for (let bit = from; bit < from + width; bit++) stream.push((code >> bit) & 1);
  };
  if (planar && bits === 3) {
    for (let first = 0; first < codes.length; first += 32) {
      const block = codes.slice(first, first + 32);
      for (const code of block) put(code, 0, 2);
      for (const code of block) put(code, 2, 1);
    }
  } else {
    for (const code of codes) put(code, 0, bits);
  }
  return Array.from({ length: stream.length / 32 }, (_, word) =>
    stream.slice(32 * word, 32 * word + 32).reduce((sum, bit, i) => sum | (bit << i), 0),
  );
}

/** Zero points of a group as words: v1 has one taken from every field, by word but for 3 bits. */
function packZeros(zeros: readonly number[], bits: number, format: Format): number[] {
  if (format !== 'gptq') return packStream(zeros, bits, format === 'gptq_p');
  if (bits === 3) {
    const less = zeros.map((zero) => (zero + 7) % 8);
    return packStream(less, bits, false);
  }
  const ones = packStream(new Array(32 / bits).fill(1), bits, false)[0] as number;
  return packStream(zeros, bits, false).map((word) => (word - ones) | 0);
}

export interface HostPart {
  dtype: DType;
  shape: number[];
  data: ArrayBufferView;
}

/** The tensors of the layer on disk, by their names after the prefix. */
export function partsOf(layer: PlainLayer, format: Format): Map<string, HostPart> {
  const { bits, n, k, codes, zeros, scales, groupOf, bias } = layer;
  const columns = Array.from({ length: n }, (_, col) =>
    packStream(
      codes.map((row) => row[col] as number),
      bits,
      format === 'gptq_p',
    ),
  );
  const rows = (columns[0] as number[]).length;
  const qweight = Int32Array.from(
    { length: rows * n },
    (_, i) => columns[i % n]?.[Math.floor(i / n)] as number,
  );
  const qzeros = zeros.map((row) => packZeros(row, bits, format));
  const floats = (values: number[]) => encode(Float64Array.from(values), 'f16');
  const g = scales.length;
  const parts = new Map<string, HostPart>([
    ['qweight', { dtype: 'i32', shape: [(k * bits) / 32, n], data: qweight }],
    ['qzeros', { dtype: 'i32', shape: [g, (n * bits) / 32], data: Int32Array.from(qzeros.flat()) }],
    ['scales', { dtype: 'f16', shape: [g, n], data: floats(scales.flat()) }],
    ['g_idx', { dtype: 'i32', shape: [k], data: Int32Array.from(groupOf) }],
  ]);
  if (bias) parts.set('bias', { dtype: 'f16', shape: [n], data: floats(bias) });
  return parts;
}

/** A checkpoint of one layer, in memory. */
class MemorySource implements WeightSource {
  readonly #parts: ReadonlyMap<string, HostPart>;

  constructor(parts: ReadonlyMap<string, HostPart>) {
    this.#parts = parts;
  }

  has(name: string): boolean {
    return this.#parts.has(name);
  }

  describe(name: string): { dtype: DType; shape: readonly number[] } {
    const part = this.#parts.get(name);
    if (!part) throw new Error(`no ${name}`);
    return part;
  }

  load(name: string, into: Tensor): Command {
    const { data } = this.#parts.get(name) as HostPart;
    return { kind: 'write', tensor: into.handle, data };
  }

  async scalar(): Promise<undefined> {
    return undefined;
  }
}

/** A layer loaded from such tensors. */
export class LoadedLayer {
  readonly #device = Device.open('cpu');
  readonly #linear: LinearGptq;

  private constructor(layer: PlainLayer, parts: ReadonlyMap<string, HostPart>, format: Format) {
    const source = new MemorySource(
      new Map([...parts].map(([name, part]) => [`layer.${name}`, part])),
    );
    const context: ModuleContext = { device: this.#device, activations: 'f32', source };
    const config = new GptqCheckpointConfig({
      bits: layer.bits,
      group_size: layer.groupSize,
      sym: layer.sym,
      checkpoint_format: format,
    });
    const parameters = [{ name: 'layer', outFeatures: layer.n }];
    const spec = { parts: parameters, inFeatures: layer.k, bias: layer.bias !== undefined };
    this.#linear = new LinearGptq(context, spec, config);
  }

  static async open(
    layer: PlainLayer,
    format: Format,
    parts = partsOf(layer, format),
  ): Promise<LoadedLayer> {
    const loaded = new LoadedLayer(layer, parts, format);
    await loaded.#linear.load();
    return loaded;
  }

  /** x f32[M, K] to f32[M, N]. */
  forward(x: Float32Array, m: number): Float32Array {
    return this.#device.scope(() => {
      const input = this.#device.empty('f32', [m, x.length / m]).write(x);
      return this.#linear.forward(input).read() as Float32Array;
    });
  }

  /** The weight f32[K, N], by a product with a unit matrix. */
  weight(k: number): Float32Array {
    const unit = new Float32Array(k * k);
    for (let i = 0; i < k; i++) unit[i * k + i] = 1;
    return this.forward(unit, k);
  }

  stored(): StoredTensor[] {
    return this.#linear.stored();
  }

  [Symbol.dispose](): void {
    this.#linear.dispose();
    this.#device.dispose();
  }
}
