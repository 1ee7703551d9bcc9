/** What the end of a byte sequence that is cut inside a character decodes to. */
const REPLACEMENT = '\uFFFD';

/**
 * The window is cut back to KEEP tokens when it has grown to LIMIT, so a token costs O(1). KEEP
 * tokens hold the bytes of any character.
 */
const LIMIT = 8;
const KEEP = 4;

/**
 * Turns token ids into text as they arrive. A character whose bytes are spread over several tokens
 * comes out with its last token, never as U+FFFD; the pieces put together are the text that
 * decoding all ids at once gives. Only a short window of recent tokens is decoded again and again:
 * it supplies what the text of a token depends on (bytes before it, being first or not).
 */
export class StreamDecoder {
  readonly #decode: (ids: readonly number[]) => string;
  #window: number[] = [];
  /** Characters of the window's text that have been handed out. */
  #emitted = 0;

  /** @param decode text of a list of ids; an empty string for an empty list */
  constructor(decode: (ids: readonly number[]) => string) {
    this.#decode = decode;
  }

  /** Takes the next id. @returns the text that is complete now, often of this token, or empty */
  push(id: number): string {
    this.#window.push(id);
    const text = this.#decode(this.#window);
    const ready = readyLength(text);
    const piece = text.slice(this.#emitted, ready);
    this.#emitted = Math.max(this.#emitted, ready);
    if (this.#window.length >= LIMIT) this.#shorten();
    return piece;
  }

  /** Ends the text. @returns what was held back: an incomplete character, as U+FFFD */
  flush(): string {
    const piece = this.#decode(this.#window).slice(this.#emitted);
    this.#window = [];
    this.#emitted = 0;
    return piece;
  }

  #shorten(): void {
    const kept = this.#window.slice(-KEEP);
    const text = this.#decode(kept);
    // Without text a token after it would look like the first one and lose its leading space.
    if (text === '' && this.#window.length < 4 * LIMIT) return;
    this.#window = kept;
    this.#emitted = readyLength(text);
  }
}

/** A last U+FFFD may still become a character; those before it cannot. */
function readyLength(text: string): number {
  return text.endsWith(REPLACEMENT) ? text.length - REPLACEMENT.length : text.length;
}
