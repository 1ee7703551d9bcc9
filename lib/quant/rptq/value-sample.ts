/**
 * Rows of an activation kept for choosing scales by their error: at most `capacity` of them, evenly
 * spread over all rows seen, always the same ones.
 */
export class ValueSample {
  readonly channels: number;
  readonly #capacity: number;
  #rows: Float32Array[] = [];
  /** One row in so many is kept. */
  #stride = 1;
  #seen = 0;

  constructor(channels: number, capacity = 1024) {
    this.channels = channels;
    this.#capacity = capacity;
  }

  /** Rows that were kept. */
  get rows(): readonly Float32Array[] {
    return this.#rows;
  }

  /** @param x float[T, channels] */
  add(x: Float32Array): void {
    for (let at = 0; at < x.length; at += this.channels) {
      if (this.#seen++ % this.#stride !== 0) continue;
      this.#rows.push(x.slice(at, at + this.channels));
      if (this.#rows.length <= this.#capacity) continue;
      this.#rows = this.#rows.filter((_, i) => i % 2 === 0);
      this.#stride *= 2;
    }
  }
}
