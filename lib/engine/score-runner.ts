import type { Command } from '../native';
import type { CausalLM } from '../nn/causal-lm';
import { tokenNll } from '../ops';
import type { Tensor } from '../tensor';
import { bucketFor, doubling } from './buckets';
import type { ChunkInputs, ChunkSpan } from './chunk-inputs';
import { MIN_CHUNK } from './engine-options';
import { InputTensor } from './input-tensor';
import type { KvCache } from './kv-cache';
import { chunkSequences } from './prefill-runner';
import { Programs } from './programs';

/** Memory for the logits of one chunk. A row is at least 128 KiB for today's vocabularies. */
const LOGITS_BYTES = 64 * 2 ** 20;

/** Runs chunks whose every row gets logits, for whole forward passes and for perplexity. */
export class ScoreRunner {
  /** Most tokens of one chunk. */
  readonly maxRows: number;
  readonly #model: CausalLM;
  readonly #cache: KvCache;
  readonly #chunk: ChunkInputs;
  readonly #programs = new Programs();
  readonly #buckets: number[];
  #targets: InputTensor | undefined;
  #nll: InputTensor | undefined;
  #logits: InputTensor | undefined;

  constructor(model: CausalLM, cache: KvCache, chunk: ChunkInputs, maxRows: number) {
    this.#model = model;
    this.#cache = cache;
    this.#chunk = chunk;
    const affordable = LOGITS_BYTES / (model.vocabSize * Float32Array.BYTES_PER_ELEMENT);
    const rows = Math.max(MIN_CHUNK, 2 ** Math.floor(Math.log2(affordable)));
    this.maxRows = Math.min(maxRows, rows);
    this.#buckets = doubling(MIN_CHUNK, this.maxRows);
  }

  /** Most sequences in one chunk. */
  get maxSequences(): number {
    return chunkSequences(this.maxRows);
  }

  /** Negative log-likelihood of `targets[row]` after each row of the spans; 0 where it is -1. */
  async nll(spans: readonly ChunkSpan[], targets: readonly number[]): Promise<Float32Array> {
    const { rows, owners } = this.#bucket(spans);
    this.#targets ??= new InputTensor(this.#model.device, 'i32', [this.maxRows]);
    this.#nll ??= new InputTensor(this.#model.device, 'f32', [this.maxRows]);
    const padded = new Int32Array(rows).fill(-1);
    padded.set(targets);
    const out = new Float32Array(rows);
    const [wanted, nll] = [this.#targets.first(rows), this.#nll.first(rows)];
    const program = this.#program(`nll ${rows}`, rows, (logits) => tokenNll(logits, wanted, nll));
    await this.#model.device.submit([
      ...this.#chunk.write(spans, rows, owners),
      this.#targets.write(rows, padded),
      program,
      this.#nll.read(rows, out),
    ]);
    return out;
  }

  /** Writes the logits of each span's rows to the array of the same index. */
  async logits(spans: readonly ChunkSpan[], into: readonly Float32Array[]): Promise<void> {
    const { rows, owners } = this.#bucket(spans);
    const { device, vocabSize } = this.#model;
    this.#logits ??= new InputTensor(device, 'f32', [this.maxRows, vocabSize]);
    const out = this.#logits.first(rows);
    // A planned tensor lives only inside the program, so what is read afterwards is copied out.
    const program = this.#program(`logits ${rows}`, rows, (logits) => {
      device.run('cast', [logits, out]);
    });
    let row = 0;
    const pieces = spans.map(({ begin, end }) => {
      row += end - begin;
      return out.rows(row - (end - begin), row);
    });
    const reads = pieces.map((piece, i): Command => {
      const array = into[i] as Float32Array;
      piece.checkHost(array);
      return { kind: 'read', tensor: piece.handle, into: array };
    });
    try {
      await device.submit([...this.#chunk.write(spans, rows, owners), program, ...reads]);
    } finally {
      for (const piece of pieces) piece.dispose();
    }
  }

  dispose(): void {
    this.#programs.dispose();
    this.#targets?.dispose();
    this.#nll?.dispose();
    this.#logits?.dispose();
  }

  #bucket(spans: readonly ChunkSpan[]): { rows: number; owners: number } {
    const used = spans.reduce((sum, { begin, end }) => sum + end - begin, 0);
    const rows = bucketFor(
      this.#buckets,
      (bucket) => bucket >= used && chunkSequences(bucket) >= spans.length,
    );
    return { rows, owners: chunkSequences(rows) };
  }

  #program(name: string, rows: number, finish: (logits: Tensor) => void): Command {
    const program = this.#programs.get(name, () => {
      const batch = {
        ...this.#chunk.bind(rows, chunkSequences(rows)),
        cache: this.#cache.layers,
      };
      return this.#model.device.record(() => {
        finish(this.#model.logits(this.#model.forward(batch)));
      });
    });
    return { kind: 'program', program: program.handle };
  }
}
