/** Why a text ended: a stop token, a stop string, its length, or the caller's wish. */
export type FinishReason = 'stop' | 'stop_string' | 'length' | 'abort';

/** One step of a generation. */
export interface GeneratedToken {
  /** undefined in the last event, if text was held back until the end. */
  token: number | undefined;
  /** Text that became certain with this token; empty without a tokenizer. */
  text: string;
}

/** A finished generation. */
export interface GenerationResult {
  /** The generated ids, without the stop token. */
  tokens: number[];
  /** The generated text, without the stop string. */
  text: string;
  finishReason: FinishReason;
  promptTokens: number;
  /** Repeats the generation, with the same options. */
  seed: number | bigint;
}

interface Reader {
  resolve(result: IteratorResult<GeneratedToken, undefined>): void;
  reject(reason: unknown): void;
}

/**
 * One request as its caller sees it: an async iterator over tokens, and a promise of the whole.
 * Tokens that nobody reads yet are kept (at most `maxNewTokens`), so a slow reader stops nobody.
 */
export class Generation implements AsyncIterableIterator<GeneratedToken> {
  readonly promptTokens: number;
  readonly seed: number | bigint;
  readonly #signal: AbortSignal | undefined;
  readonly #release: () => Promise<void>;
  readonly #events: GeneratedToken[] = [];
  readonly #readers: Reader[] = [];
  readonly #tokens: number[] = [];
  #text = '';
  #end: { reason: FinishReason } | { error: unknown } | undefined;
  readonly #result: Promise<GenerationResult>;
  #settle!: { resolve(result: GenerationResult): void; reject(reason: unknown): void };

  /**
   * @internal
   * @param release takes the sequence out of the batch; resolves when its memory is free
   */
  constructor(
    request: { promptTokens: number; seed: number | bigint; signal?: AbortSignal | undefined },
    release: () => Promise<void>,
  ) {
    this.promptTokens = request.promptTokens;
    this.seed = request.seed;
    this.#release = release;
    this.#result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Who only iterates sees the error there; the promise that nobody asked for stays quiet.
    this.#result.catch(() => {});
    this.#signal = request.signal;
    if (this.#signal?.aborted) this.fail(this.#signal.reason);
    else this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Whether it has ended, for whatever reason. */
  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Why it ended; undefined before that and after an error. */
  get finishReason(): FinishReason | undefined {
    return this.#end && 'reason' in this.#end ? this.#end.reason : undefined;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<GeneratedToken, undefined>> {
    const event = this.#events.shift();
    if (event) return Promise.resolve({ done: false, value: event });
    if (!this.#end) {
      return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    }
    if ('error' in this.#end) return Promise.reject(this.#end.error);
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Ends the generation early (`break` calls it); resolves when its memory is free. */
  async return(): Promise<IteratorResult<GeneratedToken, undefined>> {
    this.finish('abort');
    this.#events.length = 0;
    await this.#release();
    return { done: true, value: undefined };
  }

  /** The whole generation. Rejects with what went wrong, or with `signal.reason`. */
  result(): Promise<GenerationResult> {
    return this.#result;
  }

  /** @internal */
  push(event: GeneratedToken): void {
    if (this.#end) return;
    if (event.token !== undefined) this.#tokens.push(event.token);
    this.#text += event.text;
    const reader = this.#readers.shift();
    if (reader) reader.resolve({ done: false, value: event });
    else this.#events.push(event);
  }

  /** @internal Ends it; later calls change nothing. */
  finish(reason: FinishReason): void {
    if (!this.#close({ reason })) return;
    this.#settle.resolve({
      tokens: this.#tokens,
      text: this.#text,
      finishReason: reason,
      promptTokens: this.promptTokens,
      seed: this.seed,
    });
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined });
  }

  /** @internal Ends it with an error; later calls change nothing. */
  fail(error: unknown): void {
    if (!this.#close({ error })) return;
    this.#settle.reject(error);
    for (const reader of this.#readers.splice(0)) reader.reject(error);
  }

  readonly #onAbort = (): void => {
    this.#events.length = 0;
    this.fail(this.#signal?.reason);
    void this.#release();
  };

  #close(end: { reason: FinishReason } | { error: unknown }): boolean {
    if (this.#end) return false;
    this.#end = end;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    return true;
  }
}
