import type { Command } from '../native';
import type { CausalLM } from '../nn/causal-lm';
import { decodeAdvance, sample } from '../ops';
import { bucketFor, doubling } from './buckets';
import { blockTable, slotOf } from './chunk-inputs';
import { ForwardInputs } from './forward-inputs';
import type { KvCache } from './kv-cache';
import { Programs } from './programs';
import { hasPenalty, SampleInputs } from './sample-inputs';
import type { Sequence } from './sequence';

/** What the device holds for a row: whose it is, and how far it has come. */
interface Row {
  sequence: Sequence;
  computed: number;
  pages: number;
  evictions: number;
}

/**
 * Decodes one token of each sequence of a batch. The program itself moves its inputs on to the next
 * token, so the host writes only what it alone knows: who is in the batch, and new pages.
 */
export class DecodeRunner {
  readonly #model: CausalLM;
  readonly #cache: KvCache;
  readonly #inputs: ForwardInputs;
  readonly #sampling: SampleInputs;
  readonly #programs = new Programs();
  readonly #buckets: number[];
  readonly #tableWidth: number;
  #rows: Row[] = [];
  #penalty = false;

  /** @param maxPages pages of the longest sequence */
  constructor(model: CausalLM, cache: KvCache, limits: { maxBatch: number; maxPages: number }) {
    const { device, vocabSize } = model;
    const { maxBatch, maxPages } = limits;
    this.#model = model;
    this.#cache = cache;
    this.#tableWidth = maxPages;
    this.#buckets = doubling(1, maxBatch);
    this.#inputs = new ForwardInputs(device, { rows: maxBatch, sequences: maxBatch, maxPages });
    this.#sampling = new SampleInputs(device, maxBatch, vocabSize);
  }

  /**
   * Submits one step and counts it in `computed`. Resolves to the token of each sequence. Pages must
   * cover one token more than the step brings (`decode_advance` looks its slot up).
   */
  async run(sequences: readonly Sequence[]): Promise<Int32Array> {
    const rows = bucketFor(this.#buckets, (bucket) => bucket >= sequences.length);
    const commands = this.#isCurrent(sequences)
      ? this.#newPages(sequences, rows)
      : this.#rewrite(sequences, rows);
    const tokens = new Int32Array(rows);
    commands.push(
      { kind: 'program', program: this.#program(rows, this.#penalty).handle },
      this.#sampling.tokens.read(rows, tokens),
    );
    for (const sequence of sequences) sequence.computed++;
    this.#rows = sequences.map((sequence) => ({
      sequence,
      computed: sequence.computed,
      pages: sequence.pages.length,
      evictions: sequence.evictions,
    }));
    try {
      await this.#model.device.submit(commands);
    } catch (error) {
      this.#rows = [];
      throw error;
    }
    return tokens;
  }

  dispose(): void {
    this.#programs.dispose();
    this.#sampling.dispose();
    this.#inputs.dispose();
  }

  /** Whether the device's inputs are just where the last step left them for these sequences. */
  #isCurrent(sequences: readonly Sequence[]): boolean {
    return (
      sequences.length === this.#rows.length &&
      this.#rows.every(
        ({ sequence, computed, evictions }, row) =>
          sequence === sequences[row] &&
          computed === sequence.computed &&
          evictions === sequence.evictions,
      )
    );
  }

  #newPages(sequences: readonly Sequence[], rows: number): Command[] {
    if (this.#rows.every(({ sequence, pages }) => pages === sequence.pages.length)) return [];
    return [this.#inputs.blockTable.write(rows, blockTable(sequences, rows, this.#tableWidth))];
  }

  #rewrite(sequences: readonly Sequence[], rows: number): Command[] {
    const ids = new Int32Array(rows).fill(-1);
    const positions = new Int32Array(rows).fill(-1);
    const slots = new Int32Array(rows).fill(-1);
    sequences.forEach(({ tokens, pages, computed }, row) => {
      ids[row] = tokens[computed] as number;
      positions[row] = computed;
      slots[row] = slotOf(pages, computed, this.#cache.pageSize);
    });
    this.#penalty = sequences.some(hasPenalty);
    return [
      ...this.#inputs.write(rows, rows, {
        ids,
        positions,
        slots,
        sequences: Int32Array.from({ length: rows }, (_, row) => row),
        blockTable: blockTable(sequences, rows, this.#tableWidth),
      }),
      ...this.#sampling.write(sequences, rows, this.#penalty),
    ];
  }

  #program(rows: number, penalty: boolean) {
    return this.#programs.get(`${rows} ${penalty}`, () => {
      const bound = this.#inputs.bind(rows, rows);
      const batch = { ...bound, cache: this.#cache.layers, decode: true };
      const { tokens, ...inputs } = this.#sampling.bind(rows, penalty);
      return this.#model.device.record(() => {
        sample(this.#model.logits(this.#model.forward(batch)), inputs, tokens);
        const { pageSize } = this.#cache;
        const { ids, positions, slots, blockTable: table } = bound;
        const state = { ids, positions, slots, steps: inputs.steps };
        decodeAdvance(tokens, table, state, pageSize);
      });
    });
  }
}
