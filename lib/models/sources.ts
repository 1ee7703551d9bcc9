import type { Checkpoint } from '../checkpoint/checkpoint';
import type { JsonObject } from '../checkpoint/json';
import { readTensor } from '../checkpoint/safetensors';
import { loadableDtype } from '../checkpoint/storage-dtype';
import type { TensorInfo } from '../checkpoint/tensor-info';
import { CheckpointError } from '../errors';
import { type Command, type DType, type NativeFile, native } from '../native';
import type { WeightSource } from '../nn/weight-source';
import type { Tensor } from '../tensor';

/** Prefix that models saved without their head lack. */
const BASE_PREFIX = 'model.';

/** Weights from the files of a checkpoint, mapped into memory. */
export class CheckpointSource implements WeightSource {
  readonly #tensors: ReadonlyMap<string, TensorInfo>;
  readonly #folder: string;
  readonly #files = new Map<string, NativeFile>();

  /** @param extra tensors of files beside the checkpoint's own */
  constructor(checkpoint: Checkpoint, extra: Iterable<TensorInfo> = []) {
    this.#folder = checkpoint.folder;
    const added = [...extra].map((info) => [info.name, info] as const);
    this.#tensors = new Map([...checkpoint.tensors, ...added]);
  }

  has(name: string): boolean {
    return this.find(name) !== undefined;
  }

  describe(name: string): { dtype: DType; shape: readonly number[] } {
    const info = this.info(name);
    return { dtype: loadableDtype(info.dtype, `tensor ${name}`), shape: info.shape };
  }

  load(name: string, into: Tensor): Command {
    const { file, offset } = this.info(name);
    return { kind: 'load', tensor: into.handle, file: this.file(file), offset };
  }

  async scalar(name: string): Promise<number | undefined> {
    const info = this.find(name);
    if (!info || info.byteLength > 8) return undefined;
    const bytes = await readTensor(info);
    return bytes[0];
  }

  /** Unmaps the files. */
  dispose(): void {
    for (const file of this.#files.values()) file.dispose();
    this.#files.clear();
  }

  private find(name: string): TensorInfo | undefined {
    const found = this.#tensors.get(name);
    if (found || !name.startsWith(BASE_PREFIX)) return found;
    return this.#tensors.get(name.slice(BASE_PREFIX.length));
  }

  private info(name: string): TensorInfo {
    const info = this.find(name);
    if (!info) throw new CheckpointError(`${this.#folder} holds no tensor ${name}`);
    return info;
  }

  private file(path: string): NativeFile {
    let file = this.#files.get(path);
    if (!file) {
      file = native().openFile(path);
      this.#files.set(path, file);
    }
    return file;
  }
}

/** Bits of 1 and of a norm gain that makes an outlier feature, per dtype. */
const GAINS = {
  f32: { array: Float32Array, one: 1, large: 8 },
  f16: { array: Uint16Array, one: 0x3c00, large: 0x4800 },
  bf16: { array: Uint16Array, one: 0x3f80, large: 0x4100 },
} as const;
/** As many as the largest models of arXiv 2208.07339 show. */
const OUTLIER_FEATURES = 6;

/** Tensors of a GPTQ checkpoint that hold packed codes. */
const PACKED = /\.(qweight|qzeros)$/;
/** Small enough that random codes times random scales make weights of the size of the others. */
const SCALE_DEVIATION = 1e-3;

/**
 * Noise in the place of weights: speed and memory of a model without its checkpoint. Norm gains are
 * 1 but for six features, which come out as outliers, as they do in models above 6.7B parameters.
 */
export class RandomSource implements WeightSource {
  readonly #dtype: keyof typeof GAINS;
  readonly #isGptq: boolean;
  #seed = 1;
  #words = new Int32Array(0);

  /**
   * @param quantization `quantization_config` of config.json; with that of a GPTQ checkpoint, the
   * layers inside of blocks are codes of its width
   */
  constructor(dtype: keyof typeof GAINS, quantization?: JsonObject) {
    this.#dtype = dtype;
    this.#isGptq = quantization?.quant_method === 'gptq';
  }

  has(name: string): boolean {
    const isPacked = this.#isGptq && name.includes('.layers.');
    return (isPacked ? /\.(qweight|qzeros|scales)$/ : /\.(weight|bias)$/).test(name);
  }

  describe(name: string): { dtype: DType } {
    return { dtype: PACKED.test(name) ? 'i32' : this.#dtype };
  }

  load(name: string, into: Tensor): Command {
    if (/norm\.weight$/.test(name)) return this.gains(into);
    if (PACKED.test(name)) {
      return { kind: 'write', tensor: into.handle, data: this.words(into.elements) };
    }
    const tensors = [into.handle];
    if (name.endsWith('.scales')) {
      return { kind: 'run', op: 'fill_random', tensors, attrs: [this.#seed++, SCALE_DEVIATION] };
    }
    // Small enough that products of two projections (a gated MLP) bring no outliers of their own.
    const deviation = 0.5 / Math.sqrt(into.shape[into.shape.length - 1] ?? 1);
    return { kind: 'run', op: 'fill_random', tensors, attrs: [this.#seed++, deviation] };
  }

  async scalar(): Promise<undefined> {
    return undefined;
  }

  /** Random words, the same ones for every tensor: only how many there are makes a difference. */
  private words(count: number): Int32Array<ArrayBuffer> {
    if (this.#words.length < count) this.#words = randomWords(count);
    return this.#words.subarray(0, count);
  }

  private gains(into: Tensor): Command {
    const { array, one, large } = GAINS[this.#dtype];
    const data = new array(into.elements).fill(one);
    const step = Math.ceil(data.length / OUTLIER_FEATURES);
    for (let i = step >> 1; i < data.length; i += step) data[i] = large;
    return { kind: 'write', tensor: into.handle, data };
  }
}

/** Words of Marsaglia's xorshift generator (period 2^32 - 1). */
function randomWords(count: number): Int32Array<ArrayBuffer> {
  const words = new Int32Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return words;
}
