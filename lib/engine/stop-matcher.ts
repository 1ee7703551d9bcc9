/**
 * Finds the first of several strings in a text that arrives in pieces. Text that may be the
 * beginning of one is held back. The outcome does not depend on where the pieces are cut.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Returns the text that is certain by now; `stopped`: it ends before a stop string. */
  push(piece: string): { text: string; stopped: boolean } {
    const text = this.#held + piece;
    const start = this.#firstMatch(text);
    if (start !== undefined) {
      this.#held = '';
      return { text: text.slice(0, start), stopped: true };
    }
    const keep = this.#openPrefix(text);
    this.#held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep), stopped: false };
  }

  /** What was held back, once no further text follows. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  /** Start of the match that is complete first; of those that end together the longest. */
  #firstMatch(text: string): number | undefined {
    let best: { start: number; end: number } | undefined;
    for (const stop of this.#stops) {
      const start = text.indexOf(stop);
      if (start < 0) continue;
      const end = start + stop.length;
      if (!best || end < best.end || (end === best.end && start < best.start))
        best = { start, end };
    }
    return best?.start;
  }

  /** Length of the longest end of the text that begins a stop string. */
  #openPrefix(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      const most = Math.min(stop.length - 1, text.length);
      for (let length = most; length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
