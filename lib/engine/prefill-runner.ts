import type { Command } from '../native';
import type { CausalLM } from '../nn/causal-lm';
import { gatherRows, sample } from '../ops';
import { bucketFor, doubling } from './buckets';
import type { ChunkInputs } from './chunk-inputs';
import { MIN_CHUNK } from './engine-options';
import { InputTensor } from './input-tensor';
import type { KvCache } from './kv-cache';
import { Programs } from './programs';
import { hasPenalty, SampleInputs } from './sample-inputs';
import type { Span } from './scheduler';

/** A chunk of T rows takes up to T / 8 sequences, so the head never sees more rows than that. */
const ROWS_PER_SEQUENCE = 8;

/** Sequences that fit in a chunk of this many rows. */
export function chunkSequences(rows: number): number {
  return rows / ROWS_PER_SEQUENCE;
}

/** Runs chunks of prompts and samples the sequences whose last token is in the chunk. */
export class PrefillRunner {
  readonly #model: CausalLM;
  readonly #cache: KvCache;
  readonly #chunk: ChunkInputs;
  readonly #last: InputTensor;
  readonly #sampling: SampleInputs;
  readonly #programs = new Programs();
  readonly #buckets: number[];

  constructor(model: CausalLM, cache: KvCache, chunk: ChunkInputs, maxRows: number) {
    const { device, vocabSize } = model;
    this.#model = model;
    this.#cache = cache;
    this.#chunk = chunk;
    this.#buckets = doubling(MIN_CHUNK, maxRows);
    this.#last = new InputTensor(device, 'i32', [chunkSequences(maxRows)]);
    this.#sampling = new SampleInputs(device, chunkSequences(maxRows), vocabSize);
  }

  /** Submits one chunk. Resolves to a token per span; -1 for spans that do not end a sequence. */
  async run(spans: readonly Span[]): Promise<Int32Array> {
    const used = spans.reduce((sum, { begin, end }) => sum + end - begin, 0);
    const rows = bucketFor(
      this.#buckets,
      (bucket) => bucket >= used && chunkSequences(bucket) >= spans.length,
    );
    const owners = chunkSequences(rows);
    const sampled = spans.map(({ sequence, end }) =>
      end === sequence.tokens.length ? sequence : undefined,
    );
    const penalty = sampled.some((sequence) => sequence && hasPenalty(sequence));
    const pieces = spans.map(({ sequence: { tokens, pages }, begin, end }) => ({
      tokens,
      pages,
      begin,
      end,
    }));
    const tokens = new Int32Array(owners);
    const commands: Command[] = [
      ...this.#chunk.write(pieces, rows, owners),
      this.#last.write(owners, lastRows(spans, sampled, owners)),
      ...this.#sampling.write(sampled, owners, penalty),
      { kind: 'program', program: this.#program(rows, penalty).handle },
      this.#sampling.tokens.read(owners, tokens),
    ];
    for (const { sequence, end } of spans) sequence.computed = end;
    await this.#model.device.submit(commands);
    return tokens;
  }

  /** Records the largest program, so that the device's shared arena is made at its final size. */
  warmUp(): void {
    this.#program(this.#buckets.at(-1) as number, false);
  }

  dispose(): void {
    this.#programs.dispose();
    this.#last.dispose();
    this.#sampling.dispose();
  }

  #program(rows: number, penalty: boolean) {
    return this.#programs.get(`${rows} ${penalty}`, () => {
      const owners = chunkSequences(rows);
      const batch = { ...this.#chunk.bind(rows, owners), cache: this.#cache.layers };
      const last = this.#last.first(owners);
      const { tokens, ...inputs } = this.#sampling.bind(owners, penalty);
      return this.#model.device.record(() => {
        const hidden = gatherRows(this.#model.forward(batch), last);
        sample(this.#model.logits(hidden), inputs, tokens);
      });
    });
  }
}

/** The chunk's row that holds the last token of each sampled sequence; -1 for the others. */
function lastRows(spans: readonly Span[], sampled: readonly unknown[], owners: number): Int32Array {
  const last = new Int32Array(owners).fill(-1);
  let row = -1;
  spans.forEach(({ begin, end }, owner) => {
    row += end - begin;
    if (sampled[owner]) last[owner] = row;
  });
  return last;
}
