import type { SamplingParams } from './sampling-params';

/** Tokens on their way through the model, and where their keys and values are. */
export class Sequence {
  /** The prompt, then what was generated and read back so far. */
  readonly tokens: number[];
  readonly promptLength: number;
  readonly params: SamplingParams;
  /** Most tokens to generate: `maxNewTokens`, or what the context has room for. */
  readonly maxNewTokens: number;
  /** Cache pages, in the order of the tokens. */
  readonly pages: number[] = [];
  /**
   * Tokens that went into the cache, or will once the steps under way are done. May be one ahead of
   * `tokens`: the device feeds a token to the next step before the host has read it.
   */
  computed = 0;
  /** How often the pages were taken away; the cache is then filled anew. */
  evictions = 0;
  /** Whether no further token of this sequence is wanted. */
  finished = false;

  constructor(prompt: readonly number[], params: SamplingParams, maxContext: number) {
    this.tokens = [...prompt];
    this.promptLength = prompt.length;
    this.params = params;
    // The last token is never fed back, so it needs no place in the context.
    this.maxNewTokens = Math.min(params.maxNewTokens, maxContext - prompt.length + 1);
  }

  /** Tokens known to the host that are not in the cache yet. */
  get pending(): number {
    return this.tokens.length - this.computed;
  }

  get generated(): number {
    return this.tokens.length - this.promptLength;
  }

  /** Most tokens of this sequence that will ever be in the cache. */
  get maxComputed(): number {
    return this.promptLength + this.maxNewTokens - 1;
  }
}
