import { OptionsError } from '../errors';
import type { BlockManager } from './block-manager';
import type { ChunkSpan } from './chunk-inputs';
import type { ScoreRunner } from './score-runner';

/** Logits of whole sequences: f32[batch, seq, vocab], zeros past the end of a shorter sequence. */
export interface ForwardResult {
  logits: Float32Array;
  shape: [batch: number, seq: number, vocab: number];
}

/** A sequence whose every token is scored. */
interface Scored {
  index: number;
  tokens: readonly number[];
  pages: number[];
  computed: number;
}

interface ScoredSpan extends ChunkSpan {
  owner: Scored;
}

interface Task {
  /** Sequences that are not through yet, in order. */
  left: Scored[];
  signal: AbortSignal | undefined;
  run(spans: readonly ScoredSpan[]): Promise<void>;
  resolve(): void;
  reject(reason: unknown): void;
}

/** Largest result of `forward`, in floats: 8 GiB. */
const MAX_LOGITS = 2 ** 31;

/** Scores whole sequences in chunks, between the steps of the generating requests. */
export class Scorer {
  readonly #blocks: BlockManager;
  readonly #runner: ScoreRunner;
  readonly #vocabSize: number;
  readonly #tasks: Task[] = [];

  constructor(blocks: BlockManager, runner: ScoreRunner, vocabSize: number) {
    this.#blocks = blocks;
    this.#runner = runner;
    this.#vocabSize = vocabSize;
  }

  /** Whether there is something left to do. */
  get busy(): boolean {
    return this.#tasks.length > 0;
  }

  /** Queues a forward pass whose logits are all read. */
  async forward(batch: readonly number[][], signal?: AbortSignal): Promise<ForwardResult> {
    const vocab = this.#vocabSize;
    const seq = batch.reduce((longest, { length }) => Math.max(longest, length), 0);
    const elements = batch.length * seq * vocab;
    if (elements > MAX_LOGITS) {
      throw new OptionsError(
        `logits of ${batch.length} x ${seq} tokens and ${vocab} words take ${elements * 4} bytes, ` +
          'more than 8 GiB: pass fewer sequences at once',
      );
    }
    const logits = new Float32Array(elements);
    await this.#queue(batch, signal, (spans) => {
      const parts = spans.map(({ owner, begin, end }) => {
        const row = owner.index * seq;
        return logits.subarray((row + begin) * vocab, (row + end) * vocab);
      });
      return this.#runner.logits(spans, parts);
    });
    return { logits, shape: [batch.length, seq, vocab] };
  }

  /** Queues windows; entry i of a result is -log p(token i + 1 | tokens 0 .. i). */
  async nll(windows: readonly number[][], signal?: AbortSignal): Promise<Float32Array[]> {
    const results = windows.map(({ length }) => new Float32Array(length - 1));
    await this.#queue(windows, signal, async (spans) => {
      const targets = spans.flatMap(({ owner, begin, end }) => {
        const next = owner.tokens.slice(begin + 1, end + 1);
        return next.length < end - begin ? [...next, -1] : next;
      });
      const nll = await this.#runner.nll(spans, targets);
      let row = 0;
      for (const { owner, begin, end } of spans) {
        const predicted = Math.min(end, owner.tokens.length - 1) - begin;
        results[owner.index]?.set(nll.subarray(row, row + predicted), begin);
        row += end - begin;
      }
    });
    return results;
  }

  /** Runs one chunk of the oldest task; false when it has to wait for free pages. */
  async step(): Promise<boolean> {
    const task = this.#tasks[0] as Task;
    try {
      task.signal?.throwIfAborted();
      const spans = this.#pack(task);
      if (spans.length === 0) return false;
      await task.run(spans);
      for (const { owner, end } of spans) {
        owner.computed = end;
        if (end === owner.tokens.length) this.#blocks.release(owner.pages);
      }
      task.left = task.left.filter(({ computed, tokens }) => computed < tokens.length);
      if (task.left.length === 0) {
        this.#tasks.splice(this.#tasks.indexOf(task), 1);
        task.resolve();
      }
    } catch (error) {
      this.#drop(task, error);
    }
    return true;
  }

  /** Rejects all tasks and frees their pages. No chunk may be under way. */
  fail(error: unknown): void {
    while (this.#tasks[0]) this.#drop(this.#tasks[0], error);
  }

  #queue(
    batch: readonly number[][],
    signal: AbortSignal | undefined,
    run: Task['run'],
  ): Promise<void> {
    const left = batch.map((tokens, index) => ({ index, tokens, pages: [], computed: 0 }));
    return new Promise((resolve, reject) => {
      this.#tasks.push({ left, signal, run, resolve, reject });
    });
  }

  /** As many tokens as fit in a chunk, in order; each sequence gets all its pages at its start. */
  #pack(task: Task): ScoredSpan[] {
    const spans: ScoredSpan[] = [];
    let room = this.#runner.maxRows;
    for (const owner of task.left) {
      const { tokens, pages, computed: begin } = owner;
      if (room === 0 || spans.length === this.#runner.maxSequences) break;
      if (!this.#blocks.extend(pages, tokens.length)) break;
      const end = Math.min(begin + room, tokens.length);
      spans.push({ owner, tokens, pages, begin, end });
      room -= end - begin;
    }
    return spans;
  }

  #drop(task: Task, error: unknown): void {
    this.#tasks.splice(this.#tasks.indexOf(task), 1);
    for (const { pages } of task.left) this.#blocks.release(pages);
    task.reject(error);
  }
}
