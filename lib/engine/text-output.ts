import { StopMatcher } from './stop-matcher';
import type { StreamDecoder } from './stream-decoder';

/** Makes decoders; every `Tokenizer` does. Without one, only ids come out. */
export interface TextSource {
  streamDecoder(options?: { skipSpecialTokens?: boolean }): StreamDecoder;
}

/** Prompt tokens that a decoder sees first: enough for the longest character and a word's start. */
const CONTEXT = 8;

/** The text of one sequence: decoded token by token, up to a stop string. */
export class TextOutput {
  readonly #decoder: StreamDecoder | undefined;
  readonly #matcher: StopMatcher;

  /**
   * Without a decoder all text is empty. The end of the prompt is decoded first and dropped: some
   * tokenizers write a token differently (without its space) at the beginning of a text.
   */
  constructor(
    decoder: StreamDecoder | undefined,
    { stop, prompt }: { stop: readonly string[]; prompt: readonly number[] },
  ) {
    this.#decoder = decoder;
    this.#matcher = new StopMatcher(stop);
    for (const id of prompt.slice(-CONTEXT)) decoder?.push(id);
  }

  push(token: number): { text: string; stopped: boolean } {
    return this.#matcher.push(this.#decoder?.push(token) ?? '');
  }

  /** The rest of the text after the last token. It may still hold a stop string. */
  flush(): { text: string; stopped: boolean } {
    const { text, stopped } = this.#matcher.push(this.#decoder?.flush() ?? '');
    return { text: stopped ? text : text + this.#matcher.flush(), stopped };
  }
}
