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
  #drawn = false;
  #last = 0;

  constructor(stream: ProgressStream, enabled = true) {
    this.#stream = stream;
    this.#enabled = enabled && stream.isTTY === true;
  }

  /** @param detail stands behind the bar, e.g. the perplexity so far */
  update(label: string, done: number, total: number, detail = ''): void {
    if (!this.#enabled) return;
    const now = performance.now();
    if (this.#drawn && now - this.#last < INTERVAL && done < total) return;
    const share = total > 0 ? Math.min(done / total, 1) : 0;
    const filled = Math.round(share * BAR);
    const bar = '#'.repeat(filled) + '.'.repeat(BAR - filled);
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    const line = `${label} [${bar}]${percent} ${detail}`.trimEnd();
    this.#stream.write(ERASE_LINE + line.slice(0, (this.#stream.columns ?? 80) - 1));
    this.#drawn = true;
    this.#last = now;
  }

  /** Takes the line away, before anything else is printed. */
  clear(): void {
    if (this.#drawn) this.#stream.write(ERASE_LINE);
    this.#drawn = false;
  }
}
