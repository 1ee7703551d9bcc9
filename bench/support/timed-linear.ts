import { type Device, type DType, ops, type Program, type Tensor } from 'fewbit';
import { bitsPerWeight, type Method } from './methods';
import { affineWeight, bitnetWeight, gptqWeight, int8Weight, noise } from './random-weights';
import type { LinearShape } from './shapes';
import { median } from './table';

/** Weights of a program together exceed the second-level cache by far, so every run finds it cold. */
const ROTATED_BYTES = 400e6;
const MIN_COPIES = 3;
const MAX_COPIES = 64;
const RUNS = 15;
const OUTLIER_VALUE = 20;
const GRID_SCALE = 0.02;

/** What is done to the input. */
export interface InputOptions {
  /** Of LLM.int8(). */
  threshold: number;
  /** Columns of the input above the threshold. */
  outliers: number;
  /** Width of the blocks of columns that RPTQ rotates; 0 for none. */
  rotation: number;
}

/** One layer on a device: its input, and as many copies of its weight as keep the cache cold. */
export class TimedLinear {
  readonly #device: Device;
  readonly #shape: LinearShape;
  readonly #dtype: DType;
  readonly #input: InputOptions;
  #grid: Tensor | undefined;

  constructor(device: Device, shape: LinearShape, dtype: DType, input: InputOptions) {
    this.#device = device;
    this.#shape = shape;
    this.#dtype = dtype;
    this.#input = input;
  }

  /** Microseconds of the 16-bit product by the vendor's library (cuBLASLt), replayed as a graph. */
  baseline(m: number): Promise<number> {
    const call = (x: Tensor, weight: Tensor): Tensor =>
      ops.linear(x, weight, undefined, { vendorLibrary: true });
    return this.rotate(m, { kind: 'f16' }, this.half, call, (weight) => [weight]);
  }

  /** Microseconds of a method's product, with what it does to the input. */
  time(m: number, method: Method): Promise<number> {
    const device = this.#device;
    const [shape, dtype] = [this.#shape, this.#dtype];
    switch (method.kind) {
      case 'f16':
        return this.rotate(
          m,
          method,
          this.half,
          (x, weight) => ops.linear(x, weight, undefined),
          (weight) => [weight],
        );
      case 'llm.int8':
        return this.rotate(
          m,
          method,
          (seed) => int8Weight(device, dtype, shape, seed),
          (x, weight) => {
            const { threshold } = this.#input;
            const input = ops.int8Quantize(x, { threshold, mode: 'paper' });
            return ops.linearInt8(input, weight, { mode: 'paper' });
          },
          ({ codes, scales }) => [codes, scales],
        );
      case 'bitnet':
        return this.rotate(
          m,
          method,
          (seed) => bitnetWeight(device, dtype, shape, seed),
          (x, weight) => ops.bitLinear(x, weight),
          ({ codes, scales }) => [codes, scales],
        );
      case 'gptq':
        return this.rotate(
          m,
          method,
          (seed) => gptqWeight(device, dtype, shape, method, seed),
          ops.linearGptq,
          ({ codes, high, scales, zeros }) => [codes, scales, zeros, ...(high ? [high] : [])],
        );
      case 'rptq':
        return this.rotate(
          m,
          method,
          (seed) => affineWeight(device, dtype, shape, method, seed),
          (x, weight) =>
            ops.linearAffine(
              ops.affineQuantize(x, {
                grid: this.grid,
                bits: method.inputBits,
                rotation: this.#input.rotation,
              }),
              weight,
            ),
          ({ codes, high, scales, zeros }) =>
            [codes, high, scales, zeros].filter((tensor) => tensor !== undefined),
        );
    }
  }

  /** A grid for the codes of inputs, the same for every column. */
  private get grid(): Tensor {
    const { k } = this.#shape;
    this.#grid ??= this.#device.from(
      'f32',
      [2, k],
      new Float32Array(2 * k).map((_, i) => (i < k ? GRID_SCALE : 0)),
    );
    return this.#grid;
  }

  private readonly half = (seed: number): Tensor => {
    const { n, k } = this.#shape;
    return noise(this.#device, this.#dtype, [n, k], seed);
  };

  /** Median microseconds of one call, in a program that walks over copies of the weight. */
  private async rotate<Weight>(
    m: number,
    method: Method,
    make: (seed: number) => Weight,
    call: (x: Tensor, weight: Weight) => Tensor,
    tensorsOf: (weight: Weight) => Tensor[],
  ): Promise<number> {
    const { n, k } = this.#shape;
    const copies = copiesOf((n * k * bitsPerWeight(method, k)) / 8);
    const weights = Array.from({ length: copies }, (_, i) => make(i + 1));
    const x = this.input(m, method.kind === 'llm.int8' ? this.#input.outliers : 0);
    const us = await this.replay(copies, () => {
      for (const weight of weights) call(x, weight);
    });
    for (const tensor of [x, ...weights.flatMap(tensorsOf)]) tensor.dispose();
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

  /** Median microseconds of one of the `calls` that a recorded program makes. */
  private async replay(calls: number, body: () => void): Promise<number> {
    const program: Program = this.#device.record(body);
    const into = new Float64Array(RUNS);
    const command = { kind: 'time', program: program.handle, flush: null } as const;
    await this.#device.submit([{ ...command, into: new Float64Array(3) }]);
    await this.#device.submit([{ ...command, into }]);
    program.dispose();
    return (median(into) * 1000) / calls;
  }
}

function copiesOf(bytes: number): number {
  return Math.min(MAX_COPIES, Math.max(MIN_COPIES, Math.ceil(ROTATED_BYTES / bytes)));
}
