import type { ModelConfig } from '../checkpoint/config';
import type { Tokenizer } from '../checkpoint/tokenizer';
import type { Device } from '../device';
import {
  Engine,
  type ForwardResult,
  type Generation,
  type GenerationOptions,
  type GenerationResult,
} from '../engine';
import type { Transformer } from '../models/transformer';
import type { LoadedParts } from './loaded-parts';
import { type SaveOptions, saveModel } from './save';

/** A tokenizer as generation needs it. */
export type TokenizerLike = Pick<Tokenizer, 'encode' | 'streamDecoder'>;

/**
 * A language model that is loaded and ready. All requests to it share one engine, whose cache is
 * allocated when the first one comes.
 */
export class CausalLanguageModel {
  readonly #parts: LoadedParts;
  #engine: Engine | undefined;
  #disposed: Promise<void> | undefined;

  /** @internal Use `AutoModelForCausalLM`. */
  constructor(parts: LoadedParts) {
    this.#parts = parts;
  }

  get config(): ModelConfig {
    return this.#parts.transformer.config;
  }

  get device(): Device {
    return this.#parts.transformer.device;
  }

  /** The modules, for inspection and analysis. */
  get transformer(): Transformer {
    return this.#parts.transformer;
  }

  get engine(): Engine {
    this.#engine ??= new Engine(this.transformer, this.#parts.engine);
    return this.#engine;
  }

  /**
   * Continues a prompt and yields text as it becomes certain. Breaking out of the loop, or
   * `options.signal`, ends the request.
   * @param prompt text, or token ids
   */
  stream(
    tokenizer: TokenizerLike,
    prompt: string | ArrayLike<number>,
    options?: GenerationOptions,
  ): Generation {
    return this.engine.generate(encoded(tokenizer, prompt), options, tokenizer);
  }

  /** Continues one prompt, or several in one batch. */
  generate(
    tokenizer: TokenizerLike,
    prompt: string,
    options?: GenerationOptions,
  ): Promise<GenerationResult>;
  generate(
    tokenizer: TokenizerLike,
    prompts: readonly string[],
    options?: GenerationOptions,
  ): Promise<GenerationResult[]>;
  async generate(
    tokenizer: TokenizerLike,
    prompts: string | readonly string[],
    options?: GenerationOptions,
  ): Promise<GenerationResult | GenerationResult[]> {
    const list = typeof prompts === 'string' ? [prompts] : prompts;
    const ids = list.map((prompt) => encoded(tokenizer, prompt));
    const results = await this.engine.generateAll(ids, options, tokenizer);
    return typeof prompts === 'string' ? (results[0] as GenerationResult) : results;
  }

  /** Logits f32[batch, seq, vocab] of token ids; zeros past the end of a shorter sequence. */
  forward(
    ids: readonly ArrayLike<number>[],
    options?: { signal?: AbortSignal },
  ): Promise<ForwardResult> {
    return this.engine.forward(ids, options);
  }

  /**
   * Writes the model as a Hugging Face folder: weights as they are held (quantized layers in their
   * format), config.json, and the tokenizer's files. Files appear only when they are complete.
   */
  savePretrained(folder: string, options?: SaveOptions): Promise<void> {
    return saveModel(this.#parts, folder, options);
  }

  /** Rejects what is pending and frees all memory. Idempotent. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #dispose(): Promise<void> {
    await this.#engine?.dispose();
    this.transformer.dispose();
    this.device.dispose();
  }
}

function encoded(tokenizer: TokenizerLike, prompt: string | ArrayLike<number>): ArrayLike<number> {
  return typeof prompt === 'string' ? tokenizer.encode(prompt) : prompt;
}
