import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const samples = join(__dirname, '../../samples');

/** A folder of golden vectors: a tiny checkpoint with what it should compute. */
export function goldenFolder(name: string): string {
  return join(samples, 'golden', name);
}

export function sampleFolder(name: string): string {
  return join(samples, name);
}

/** A tensor of a safetensors file as plain bytes. */
export interface RawTensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

/** Every tensor of a small safetensors file, read without any code of the library. */
export function readTensors(path: string): Map<string, RawTensor> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(([name, { dtype, shape, data_offsets }]) => {
      const [begin, end] = data_offsets.map((offset) => 8 + length + offset) as [number, number];
      // A copy, so that typed arrays on it are aligned.
      return [name, { dtype, shape, bytes: new Uint8Array(file.subarray(begin, end)) }];
    }),
  );
}

/** Token ids of a golden file, one array per row. */
export function idRows({ shape, bytes }: RawTensor): number[][] {
  const ids = Array.from(new BigInt64Array(bytes.buffer), Number);
  const [rows, length] = shape as [number, number];
  return Array.from({ length: rows }, (_, row) => ids.slice(row * length, (row + 1) * length));
}

/** What a golden model was computed to give, by an independent implementation in float32. */
export interface Expected {
  inputIds: number[][];
  logits: Float32Array;
  logitsShape: number[];
  /** A prompt and its greedy continuation. */
  greedyIds: number[];
}

export function goldenExpected(name: string): Expected {
  return expectedIn(goldenFolder(name));
}

/** What the model in a folder was computed to give. */
export function expectedIn(folder: string): Expected {
  const path = join(folder, 'expected.safetensors');
  if (!existsSync(path)) throw new Error(`${path} is missing`);
  const tensors = readTensors(path);
  const get = (key: string) => tensors.get(key) as RawTensor;
  return {
    inputIds: idRows(get('input_ids')),
    logits: new Float32Array(get('logits').bytes.buffer),
    logitsShape: get('logits').shape,
    greedyIds: idRows(get('greedy_ids'))[0] as number[],
  };
}

/** |a - b| / |b| in the Euclidean norm. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} values instead of ${b.length}`);
  let [error, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    error += ((a[i] as number) - (b[i] as number)) ** 2;
    norm += (b[i] as number) ** 2;
  }
  return Math.sqrt(error / norm);
}

/** Facts about the sample models, computed by Hugging Face transformers. */
export interface SampleExpectation {
  perplexity: number;
  greedy_prompt: string;
  greedy_ids: number[];
}

export function sampleExpected(name: string): SampleExpectation {
  const text = readFileSync(join(samples, 'text/expected.json'), 'utf8');
  const { models } = JSON.parse(text) as { models: Record<string, SampleExpectation> };
  return models[name] as SampleExpectation;
}

/** The held-out token ids, in windows of 512. */
export function heldoutWindows(count: number): number[][] {
  const bytes = readFileSync(join(samples, 'text/heldout-ids.u16'));
  const ids = Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
  return Array.from({ length: count }, (_, i) => ids.slice(i * 512, (i + 1) * 512));
}
