import { setImmediate as turnOfEventLoop } from 'node:timers/promises';
import { DisposedError, OptionsError } from '../errors';
import type { CausalLM } from '../nn/causal-lm';
import { BlockManager } from './block-manager';
import { CalibratedLength } from './calibrated-length';
import { checkLength, tokenIds } from './checks';
import { type EngineOptions, type EngineSizes, engineSizes } from './engine-options';
import type { EngineUsage } from './engine-usage';
import { Generation, type GenerationResult } from './generation';
import { ModelRunner } from './model-runner';
import { Request } from './request';
import { type GenerationOptions, samplingParams } from './sampling-params';
import { type Plan, Scheduler } from './scheduler';
import { type ForwardResult, Scorer } from './scorer';
import { Sequence } from './sequence';
import { TextOutput, type TextSource } from './text-output';

/** What `sample` yields for a row that was not to be sampled: a prompt that goes on. */
const UNSAMPLED = -1;

/**
 * Longest that steps follow each other without a turn of the event loop, in milliseconds. Node
 * delivers results that wait already one after the other, up to a thousand of them.
 */
const YIELD_AFTER = 4;

/** A step that was submitted. Its outcome never rejects. */
interface Step {
  kind: Plan['kind'];
  sequences: Sequence[];
  outcome: Promise<{ tokens: Int32Array } | { error: unknown }>;
}

/**
 * Serves any number of requests over one model: all that are ready share each forward pass
 * (continuous batching). Steps run on the device's own thread; this class only plans them.
 */
export class Engine {
  readonly sizes: EngineSizes;
  readonly #model: CausalLM;
  readonly #runner: ModelRunner;
  readonly #blocks: BlockManager;
  readonly #scheduler: Scheduler;
  readonly #scorer: Scorer;
  readonly #calibrated: CalibratedLength;
  readonly #requests = new Map<Sequence, Request>();
  /** Called when the memory of a sequence is free. */
  readonly #released = new Map<Sequence, (() => void)[]>();
  #loop: Promise<void> | undefined;
  #lastYield = 0;
  #disposal: Promise<void> | undefined;

  /** Takes the memory of the cache. The model stays the caller's. */
  constructor(model: CausalLM, options: EngineOptions = {}) {
    this.#model = model;
    this.sizes = engineSizes(model, options);
    const { pages, pageSize, maxBatch } = this.sizes;
    this.#runner = new ModelRunner(model, this.sizes);
    this.#blocks = new BlockManager(pages, pageSize);
    this.#calibrated = new CalibratedLength(this.sizes.cacheShape);
    const { chunkRows, chunkSequences } = this.#runner;
    this.#scheduler = new Scheduler(this.#blocks, { maxBatch, chunkRows, chunkSequences });
    this.#scorer = new Scorer(this.#blocks, this.#runner.score, model.vocabSize);
  }

  get usage(): EngineUsage {
    const { running, waiting, preemptions } = this.#scheduler;
    return {
      running: running.length,
      waiting: waiting.length,
      preemptions,
      pages: this.#blocks.total,
      freePages: this.#blocks.free,
      pageSize: this.#blocks.pageSize,
      cacheBytes: this.#runner.cache.bytes,
    };
  }

  /**
   * Starts to continue a prompt. Nothing has to be awaited for it to run.
   * @throws OptionsError for wrong ids or options, or a request that the cache can never hold
   */
  generate(
    prompt: ArrayLike<number>,
    options: GenerationOptions = {},
    tokenizer?: TextSource,
  ): Generation {
    this.#checkUsable();
    const { eosTokenIds, maxContext } = this.sizes;
    const { vocabSize } = this.#model;
    const ids = tokenIds('prompt', prompt, vocabSize);
    checkLength('prompt', ids, maxContext);
    this.#calibrated.check(ids.length);
    const params = samplingParams(options, { vocabSize, eosTokenIds });
    if (params.stop.length > 0 && !tokenizer) {
      throw new OptionsError('stop strings need a tokenizer; use stopTokenIds without one');
    }
    const sequence = new Sequence(ids, params, maxContext);
    this.#scheduler.check(sequence);
    const decoder = tokenizer?.streamDecoder({ skipSpecialTokens: true });
    const output = new TextOutput(decoder, { stop: params.stop, prompt: ids });
    const generation = new Generation(
      { promptTokens: ids.length, seed: params.seed, signal: options.signal },
      () => this.#release(sequence),
    );
    if (!generation.ended) {
      this.#requests.set(sequence, new Request(sequence, generation, output));
      this.#scheduler.add(sequence);
      this.#wake();
    }
    return generation;
  }

  /** Continues several prompts at once. When one fails, the others end and the error is thrown. */
  async generateAll(
    prompts: readonly ArrayLike<number>[],
    options: GenerationOptions = {},
    tokenizer?: TextSource,
  ): Promise<GenerationResult[]> {
    const checked = this.#checkBatch('prompts', prompts);
    const generations: Generation[] = [];
    try {
      for (const prompt of checked) generations.push(this.generate(prompt, options, tokenizer));
      return await Promise.all(generations.map((generation) => generation.result()));
    } catch (error) {
      await Promise.all(generations.map((generation) => generation.return()));
      throw error;
    }
  }

  /** Logits of every token of every sequence. */
  async forward(
    batch: readonly ArrayLike<number>[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<ForwardResult> {
    const result = this.#scorer.forward(this.#checkBatch('ids', batch), signal);
    this.#wake();
    return result;
  }

  /**
   * Negative log-likelihoods for perplexity: of a window of n ids, n - 1 values; value i is
   * -log p(id i + 1 | ids 0 .. i).
   */
  async nll(
    windows: readonly ArrayLike<number>[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Float32Array[]> {
    const result = this.#scorer.nll(this.#checkBatch('windows', windows), signal);
    this.#wake();
    return result;
  }

  /** Rejects what is pending, waits for the step under way and frees the engine's memory. */
  dispose(): Promise<void> {
    this.#disposal ??= this.#dispose();
    return this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #dispose(): Promise<void> {
    this.#fail(new DisposedError('engine'));
    await this.#loop;
    this.#scorer.fail(new DisposedError('engine'));
    this.#reap();
    this.#runner.dispose();
  }

  #checkUsable(): void {
    if (this.#disposal) throw new DisposedError('engine');
  }

  #checkBatch(name: string, batch: readonly ArrayLike<number>[]): number[][] {
    this.#checkUsable();
    if (!Array.isArray(batch) || batch.length === 0) {
      throw new OptionsError(`${name} must be a non-empty array of arrays of token ids`);
    }
    const longest = Math.min(this.sizes.maxContext, this.#blocks.total * this.#blocks.pageSize);
    return batch.map((ids: ArrayLike<number>, i) => {
      const checked = tokenIds(`${name}[${i}]`, ids, this.#model.vocabSize);
      checkLength(`${name}[${i}]`, checked, longest);
      this.#calibrated.check(checked.length);
      return checked;
    });
  }

  #wake(): void {
    this.#loop ??= this.#run();
  }

  async #run(): Promise<void> {
    try {
      // Requests made in the same turn of the event loop share the first batch.
      await Promise.resolve();
      this.#lastYield = performance.now();
      while (this.#hasWork) await this.#turn();
    } catch (error) {
      this.#fail(error);
      this.#scorer.fail(error);
      this.#reap();
    } finally {
      this.#loop = undefined;
    }
  }

  get #hasWork(): boolean {
    return !this.#disposal && (this.#requests.size > 0 || this.#scorer.busy);
  }

  /** One chunk of scoring and one step of generation (or two and more, while they run ahead). */
  async #turn(): Promise<void> {
    const blocked = this.#scorer.busy && !(await this.#scorer.step());
    await this.#yield();
    this.#reap();
    if (this.#disposal) return;
    const plan = this.#scheduler.next({ admit: !blocked });
    for (let step = plan && this.#start(plan); step; ) {
      const ahead = this.#startAhead(step);
      await this.#settle(step, ahead === undefined);
      step = ahead;
      await this.#yield();
    }
  }

  /** Lets timers and I/O have their turn, if they have waited long enough. */
  async #yield(): Promise<void> {
    if (performance.now() - this.#lastYield < YIELD_AFTER) return;
    await turnOfEventLoop();
    this.#lastYield = performance.now();
  }

  #start(plan: Plan): Step {
    const { prefill, decode } = this.#runner;
    const sequences =
      plan.kind === 'decode' ? plan.sequences : plan.spans.map(({ sequence }) => sequence);
    const tokens = plan.kind === 'decode' ? decode.run(plan.sequences) : prefill.run(plan.spans);
    for (const { computed } of sequences) this.#calibrated.check(computed);
    const outcome = tokens.then(
      (values) => ({ tokens: values }),
      (error: unknown) => ({ error }),
    );
    return { kind: plan.kind, sequences, outcome };
  }

  /**
   * Submits the step after a decode step whose tokens are not known yet, if the batch will surely
   * be the same but for stop tokens.
   */
  #startAhead({ kind, sequences }: Step): Step | undefined {
    if (!this.sizes.lookahead || kind !== 'decode' || this.#disposal) return undefined;
    if (this.#scorer.busy || this.#scheduler.canAdmit()) return undefined;
    const last = ({ finished, generated, maxNewTokens }: Sequence) =>
      finished || generated + 1 >= maxNewTokens;
    if (sequences.some(last) || !this.#scheduler.extend(sequences)) return undefined;
    return this.#start({ kind: 'decode', sequences });
  }

  /**
   * Waits for a step and hands out its tokens. Sequences that have ended meanwhile get none.
   * @param drained no other step is under way
   */
  async #settle({ sequences, outcome }: Step, drained: boolean): Promise<void> {
    const result = await outcome;
    for (const [row, sequence] of sequences.entries()) {
      if (sequence.finished) continue;
      const request = this.#requests.get(sequence) as Request;
      if ('error' in result) {
        request.fail(result.error);
        continue;
      }
      const token = result.tokens[row] as number;
      if (token !== UNSAMPLED) request.accept(token);
    }
    if (drained) this.#reap();
  }

  /** Takes a sequence out; resolves when no step uses its pages any more and they are free. */
  #release(sequence: Sequence): Promise<void> {
    sequence.finished = true;
    if (!this.#requests.has(sequence)) return Promise.resolve();
    return new Promise((resolve) => {
      const waiters = this.#released.get(sequence);
      if (waiters) waiters.push(resolve);
      else this.#released.set(sequence, [resolve]);
    });
  }

  /** Frees the pages of finished sequences. No step may be under way. */
  #reap(): void {
    for (const sequence of this.#requests.keys()) {
      if (!sequence.finished) continue;
      this.#scheduler.remove(sequence);
      this.#requests.delete(sequence);
      for (const resolve of this.#released.get(sequence) ?? []) resolve();
      this.#released.delete(sequence);
    }
  }

  #fail(error: unknown): void {
    for (const request of this.#requests.values()) request.fail(error);
  }
}
