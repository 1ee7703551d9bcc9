/** The part of a terminal stream that progress needs. */
export interface ProgressStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

const BAR = 24;
/** Milliseconds between two drawings. */
const INTERVAL = 80;
const ERASE_LINE = '\r\u001b[K';

/** One line at the bottom of a terminal that is redrawn. Draws nothing when it is not a terminal. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #enabled: boolean;
  /** What stands there now; empty when nothing does. */
  #line = '';
  #last = 0;

  constructor(stream: ProgressStream, enabled = true) {
    this.#stream = stream;
    this.#enabled = enabled && stream.isTTY === true;
  }

  /** @param detail stands behind the bar, e.g. the perplexity so far */
  update(label: string, done: number, total: number, detail = ''): void {
    if (!this.#enabled) return;
    const now = performance.now();
    if (this.#line && now - this.#last < INTERVAL && done < total) return;
    const share = total > 0 ? Math.min(done / total, 1) : 0;
    const filled = Math.round(share * BAR);
    const bar = '#'.repeat(filled) + '.'.repeat(BAR - filled);
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    const line = `${label} [${bar}]${percent} ${detail}`.trimEnd();
    this.#last = now;
    if (line === this.#line) return;
    // Some pseudo-terminals say that they have 0 columns.
    this.#stream.write(ERASE_LINE + line.slice(0, (this.#stream.columns || 80) - 1));
    this.#line = line;
  }

  /** Takes the line away, before anything else is printed. */
  clear(): void {
    if (this.#line) this.#stream.write(ERASE_LINE);
    this.#line = '';
  }
}
