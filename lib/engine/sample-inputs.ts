import type { Device } from '../device';
import type { Command } from '../native';
import { SAMPLE_PARAMS } from '../ops';
import type { Tensor } from '../tensor';
import { InputTensor } from './input-tensor';
import type { Sequence } from './sequence';

/** A temperature below 0 tells `sample` to leave the row out. */
const INACTIVE = -1;

/** What `sample` reads and writes for up to `capacity` rows; see `src/ops/sample.h`. */
export class SampleInputs {
  readonly tokens: InputTensor;
  readonly #device: Device;
  readonly #capacity: number;
  readonly #vocabSize: number;
  readonly #params: InputTensor;
  readonly #seeds: InputTensor;
  readonly #steps: InputTensor;
  /** u8[capacity, V], made when the first request with a repetition penalty comes. */
  #seen: InputTensor | undefined;

  constructor(device: Device, capacity: number, vocabSize: number) {
    this.#device = device;
    this.#capacity = capacity;
    this.#vocabSize = vocabSize;
    this.tokens = new InputTensor(device, 'i32', [capacity]);
    this.#params = new InputTensor(device, 'f32', [capacity, SAMPLE_PARAMS]);
    this.#seeds = new InputTensor(device, 'i64', [capacity]);
    this.#steps = new InputTensor(device, 'i32', [capacity]);
  }

  /** The tensors that a program over `rows` rows uses. */
  bind(
    rows: number,
    penalty: boolean,
  ): { params: Tensor; seeds: Tensor; steps: Tensor; seen?: Tensor; tokens: Tensor } {
    return {
      params: this.#params.first(rows),
      seeds: this.#seeds.first(rows),
      steps: this.#steps.first(rows),
      ...(penalty && { seen: this.#seenRows().first(rows) }),
      tokens: this.tokens.first(rows),
    };
  }

  /** Writes the rows of these sequences (undefined: not sampled) and marks the rest inactive. */
  write(sequences: readonly (Sequence | undefined)[], rows: number, penalty: boolean): Command[] {
    const params = new Float32Array(rows * SAMPLE_PARAMS);
    const seeds = new BigInt64Array(rows);
    const steps = new Int32Array(rows);
    for (let row = 0; row < rows; row++) {
      const sequence = sequences[row];
      params.set(sequence ? paramsRow(sequence) : [INACTIVE, 0, 1, 0, 1], row * SAMPLE_PARAMS);
      if (!sequence) continue;
      seeds[row] = BigInt.asIntN(64, BigInt(sequence.params.seed));
      steps[row] = sequence.generated;
    }
    const commands = [
      this.#params.write(rows, params),
      this.#seeds.write(rows, seeds),
      this.#steps.write(rows, steps),
    ];
    if (penalty) commands.push(this.#seenRows().write(rows, this.#seenBy(sequences, rows)));
    return commands;
  }

  dispose(): void {
    for (const tensor of [this.tokens, this.#params, this.#seeds, this.#steps, this.#seen]) {
      tensor?.dispose();
    }
  }

  #seenRows(): InputTensor {
    this.#seen ??= new InputTensor(this.#device, 'u8', [this.#capacity, this.#vocabSize]);
    return this.#seen;
  }

  #seenBy(sequences: readonly (Sequence | undefined)[], rows: number): Uint8Array {
    const seen = new Uint8Array(rows * this.#vocabSize);
    sequences.forEach((sequence, row) => {
      if (!sequence || !hasPenalty(sequence)) return;
      for (const token of sequence.tokens) seen[row * this.#vocabSize + token] = 1;
    });
    return seen;
  }
}

export function hasPenalty({ params }: Sequence): boolean {
  return params.repetitionPenalty !== 1;
}

function paramsRow({ params }: Sequence): number[] {
  const { temperature, topK, topP, minP, repetitionPenalty } = params;
  return [temperature, topK, topP, minP, repetitionPenalty];
}
