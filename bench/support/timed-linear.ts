import { type Device, type DType, ops, type Program, type Tensor } from 'fewbit';
import type { LinearShape } from './shapes';
import { median } from './table';

/** Weights of a program together exceed the second-level cache by far, so every run finds it cold. */
const ROTATED_BYTES = 400e6;
const MIN_COPIES = 3;
const MAX_COPIES = 64;
const RUNS = 15;
const OUTLIER_VALUE = 20;

/** One layer on a device: its input, and as many copies of its weight as keep the cache cold. */
export class TimedLinear {
  readonly #device: Device;
  readonly #shape: LinearShape;
  readonly #dtype: DType;

  constructor(device: Device, shape: LinearShape, dtype: DType) {
    this.#device = device;
    this.#shape = shape;
    this.#dtype = dtype;
  }

  /** Microseconds of the 16-bit product by the vendor's library (cuBLASLt), replayed as a graph. */
  async half(m: number): Promise<number> {
    const { n, k } = this.#shape;
    const copies = copiesOf(n * k * 2);
    const weights = copies.map((seed) => this.noise([n, k], seed));
    const x = this.input(m, 0);
    const us = await this.time(copies.length, () => {
      for (const weight of weights) ops.linear(x, weight, undefined, { vendorLibrary: true });
    });
    for (const tensor of [x, ...weights]) tensor.dispose();
    return us;
  }

  /** Microseconds of LLM.int8(): quantization of x, int8 product, outlier columns, one output. */
  async int8(m: number, options: { threshold: number; outliers: number }): Promise<number> {
    const { n, k } = this.#shape;
    const copies = copiesOf(n * k);
    const weights = copies.map((seed) => this.int8Weight(seed));
    const x = this.input(m, options.outliers);
    const us = await this.time(copies.length, () => {
      for (const weight of weights) {
        const input = ops.int8Quantize(x, { threshold: options.threshold, mode: 'paper' });
        ops.linearInt8(input, weight, { mode: 'paper' });
      }
    });
    x.dispose();
    for (const { codes, scales } of weights) {
      codes.dispose();
      scales.dispose();
    }
    return us;
  }

  /** Uniform values below the threshold, and `outliers` columns above it. */
  private input(m: number, outliers: number): Tensor {
    const { k } = this.#shape;
    const dtype = this.#device.type === 'cpu' ? 'f32' : this.#dtype;
    const x = ops.fillRandom(this.#device.allocate(dtype, [m, k]), 7);
    const gains = new Float32Array(k).fill(1);
    for (let i = 0; i < outliers; i++)
      gains[Math.floor(((i + 0.5) * k) / outliers)] = OUTLIER_VALUE;
    const scale = this.#device.from('f32', [k], gains);
    ops.scaleColumns(x, scale);
    scale.dispose();
    return x;
  }

  private int8Weight(seed: number): ops.Int8Weight {
    const { n, k } = this.#shape;
    const device = this.#device;
    const original = this.noise([n, k], seed);
    const codes = device.allocate('i8', [ops.alignInt8(n), ops.alignInt8(k)]);
    const scales = device.allocate('f32', [n]);
    const unused = undefined;
    device.run('int8_quantize', [original, codes, scales, unused, unused, unused], [0, 0]);
    original.dispose();
    return { codes, scales };
  }

  private noise(shape: number[], seed: number): Tensor {
    return ops.fillRandom(this.#device.allocate(this.#dtype, shape), seed, 0.02);
  }

  /** Median microseconds of one of the `calls` that a recorded program makes. */
  private async time(calls: number, body: () => void): Promise<number> {
    const program: Program = this.#device.record(body);
    const into = new Float64Array(RUNS);
    const command = { kind: 'time', program: program.handle, flush: null } as const;
    await this.#device.submit([{ ...command, into: new Float64Array(3) }]);
    await this.#device.submit([{ ...command, into }]);
    program.dispose();
    return (median(into) * 1000) / calls;
  }
}

function copiesOf(bytes: number): number[] {
  const count = Math.min(MAX_COPIES, Math.max(MIN_COPIES, Math.ceil(ROTATED_BYTES / bytes)));
  return Array.from({ length: count }, (_, i) => i + 1);
}
