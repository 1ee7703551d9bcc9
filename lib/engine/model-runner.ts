import type { CausalLM } from '../nn/causal-lm';
import { ChunkInputs } from './chunk-inputs';
import { DecodeRunner } from './decode-runner';
import { type EngineSizes, MIN_CHUNK } from './engine-options';
import { KvCache } from './kv-cache';
import { chunkSequences, PrefillRunner } from './prefill-runner';
import { ScoreRunner } from './score-runner';

/** All that an engine keeps on the device: the cache, input tensors and recorded programs. */
export class ModelRunner {
  readonly cache: KvCache;
  readonly prefill: PrefillRunner;
  readonly decode: DecodeRunner;
  readonly score: ScoreRunner;
  /** Most tokens, and most sequences, of one chunk. */
  readonly chunkRows: number;
  readonly chunkSequences: number;
  readonly #owned: { dispose(): void }[] = [];

  constructor(model: CausalLM, sizes: EngineSizes) {
    const { maxBatch, maxContext, pageSize, pages } = sizes;
    const maxPages = Math.ceil(maxContext / pageSize);
    // No chunk can be larger than all that fits in the batch.
    const most = Math.max(MIN_CHUNK, 2 ** Math.ceil(Math.log2(maxBatch * maxContext)));
    this.chunkRows = Math.min(sizes.maxChunk, most);
    this.chunkSequences = chunkSequences(this.chunkRows);
    try {
      this.cache = this.#own(new KvCache(model.device, sizes.cacheShape, pages, pageSize));
      const chunk = this.#own(
        new ChunkInputs(model.device, {
          rows: this.chunkRows,
          sequences: this.chunkSequences,
          pageSize,
          maxPages,
        }),
      );
      this.prefill = this.#own(new PrefillRunner(model, this.cache, chunk, this.chunkRows));
      this.decode = this.#own(new DecodeRunner(model, this.cache, { maxBatch, maxPages }));
      this.score = this.#own(new ScoreRunner(model, this.cache, chunk, this.chunkRows));
      this.prefill.warmUp();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  dispose(): void {
    for (const part of this.#owned.splice(0).reverse()) part.dispose();
  }

  #own<T extends { dispose(): void }>(part: T): T {
    this.#owned.push(part);
    return part;
  }
}
