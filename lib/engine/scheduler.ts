import { OptionsError } from '../errors';
import type { BlockManager } from './block-manager';
import type { Sequence } from './sequence';

/** Tokens `begin .. end` of a sequence that go through the model together. */
export interface Span {
  sequence: Sequence;
  begin: number;
  end: number;
}

/** What to run next. A sequence is sampled when its last token goes through. */
export type Plan = { kind: 'prefill'; spans: Span[] } | { kind: 'decode'; sequences: Sequence[] };

/**
 * Continuous batching. Prompts go first, several in one chunk; else every running sequence gets one
 * token. When the pages run out, the newest sequence gives its pages back and is computed again
 * later, from its prompt and what it generated.
 */
export class Scheduler {
  /** Sequences without pages, next first. */
  readonly waiting: Sequence[] = [];
  /** Sequences with pages, oldest first. */
  readonly running: Sequence[] = [];
  /** How often a sequence had to give its pages back. */
  preemptions = 0;
  readonly #blocks: BlockManager;
  readonly #limits: { maxBatch: number; chunkRows: number; chunkSequences: number };

  constructor(
    blocks: BlockManager,
    limits: { maxBatch: number; chunkRows: number; chunkSequences: number },
  ) {
    this.#blocks = blocks;
    this.#limits = limits;
  }

  /** @throws OptionsError when the sequence cannot fit even with the whole cache to itself */
  check(sequence: Sequence): void {
    const { total, pageSize } = this.#blocks;
    const needed = this.#blocks.pagesFor(sequence.maxComputed);
    if (needed > total) {
      throw new OptionsError(
        `the request needs ${needed} cache pages (${sequence.promptLength} prompt tokens and up to ` +
          `${sequence.maxNewTokens} new ones, ${pageSize} a page), but the cache has ${total}: ` +
          'lower maxNewTokens or raise pages or kvBytes',
      );
    }
  }

  /** Queues a sequence that passed `check`. */
  add(sequence: Sequence): void {
    this.waiting.push(sequence);
  }

  /** Gives a sequence's pages back and forgets it. No step that uses them may be under way. */
  remove(sequence: Sequence): void {
    for (const queue of [this.waiting, this.running]) {
      const index = queue.indexOf(sequence);
      if (index >= 0) queue.splice(index, 1);
    }
    this.#blocks.release(sequence.pages);
  }

  /** Plans the next step and takes the pages for it; undefined when nothing can run. */
  next({ admit = true } = {}): Plan | undefined {
    while (admit && this.canAdmit()) {
      const sequence = this.waiting.shift() as Sequence;
      this.#blocks.extend(sequence.pages, coverage(sequence, sequence.tokens.length));
      this.running.push(sequence);
    }
    const spans = this.#prefill();
    if (spans.length > 0) return { kind: 'prefill', spans };
    const sequences = this.#decode();
    return sequences.length > 0 ? { kind: 'decode', sequences } : undefined;
  }

  /** Whether the next waiting sequence fits beside the running ones and a page's growth of each. */
  canAdmit(): boolean {
    const sequence = this.waiting[0];
    if (!sequence || this.running.length >= this.#limits.maxBatch) return false;
    const needed = this.#blocks.pagesFor(coverage(sequence, sequence.tokens.length));
    return needed + this.#growing() <= this.#blocks.free;
  }

  /** Takes the pages of the next decode step without preempting anybody; false if it cannot. */
  extend(sequences: readonly Sequence[]): boolean {
    return sequences.every((sequence) => this.#cover(sequence));
  }

  #growing(): number {
    return this.running.filter(
      ({ pages, maxComputed }) => pages.length < this.#blocks.pagesFor(maxComputed),
    ).length;
  }

  #prefill(): Span[] {
    const spans: Span[] = [];
    let room = this.#limits.chunkRows;
    for (const sequence of this.running) {
      if (room === 0 || spans.length === this.#limits.chunkSequences) break;
      // A single token is the decode program's business.
      if (sequence.pending <= 1) continue;
      const count = Math.min(room, sequence.pending);
      spans.push({ sequence, begin: sequence.computed, end: sequence.computed + count });
      room -= count;
    }
    return spans;
  }

  #decode(): Sequence[] {
    for (let i = 0; i < this.running.length; ) {
      if (this.#cover(this.running[i] as Sequence)) i++;
      else this.#preemptNewest();
    }
    return [...this.running];
  }

  #cover(sequence: Sequence): boolean {
    return this.#blocks.extend(sequence.pages, coverage(sequence, sequence.computed + 1));
  }

  #preemptNewest(): void {
    const sequence = this.running.pop() as Sequence;
    this.#blocks.release(sequence.pages);
    sequence.computed = 0;
    sequence.evictions++;
    this.preemptions++;
    this.waiting.unshift(sequence);
  }
}

/**
 * Tokens that need pages when a step brings the cache to `computed` tokens: one more, because the
 * step also prepares the place of the next token, unless there will be none.
 */
function coverage(sequence: Sequence, computed: number): number {
  return Math.min(computed + 1, sequence.maxComputed);
}
