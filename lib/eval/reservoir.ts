/** A uniform sample of a stream of unknown length (Vitter's algorithm R). */
export class Reservoir {
  readonly #size: number;
  readonly #random: () => number;
  readonly #values: number[] = [];
  #seen = 0;

  constructor(size: number, random: () => number) {
    this.#size = size;
    this.#random = random;
  }

  add(value: number): void {
    this.#seen++;
    if (this.#values.length < this.#size) {
      this.#values.push(value);
      return;
    }
    const place = Math.floor(this.#random() * this.#seen);
    if (place < this.#size) this.#values[place] = value;
  }

  /** First quartile, median and third quartile, interpolated; exact while nothing was left out. */
  quartiles(): [number, number, number] {
    const sorted = [...this.#values].sort((a, b) => a - b);
    const at = (share: number): number => {
      const place = share * (sorted.length - 1);
      const below = sorted[Math.floor(place)] as number;
      const above = sorted[Math.ceil(place)] as number;
      return below + (above - below) * (place % 1);
    };
    return [at(0.25), at(0.5), at(0.75)];
  }
}
