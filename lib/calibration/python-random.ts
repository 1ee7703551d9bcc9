const SIZE = 624;
const MIDDLE = 397;

/**
 * The numbers of Python's `random.Random(seed)` (MT19937, Matsumoto and Nishimura 1998, seeded as
 * CPython does), so that samples drawn here are those of published calibration code.
 */
export class PythonRandom {
  readonly #state = new Uint32Array(SIZE);
  #index = SIZE;

  /** @param seed a whole number */
  constructor(seed: number | bigint) {
    const key: number[] = [];
    let rest = seed < 0 ? -BigInt(seed) : BigInt(seed);
    do {
      key.push(Number(rest & 0xffffffffn));
      rest >>= 32n;
    } while (rest > 0n);
    this.#seed(key);
  }

  /** `randint(low, high)`: a whole number, both ends included, at most 2^32 of them. */
  integer(low: number, high: number): number {
    const count = high - low + 1;
    const bits = count.toString(2).length;
    for (;;) {
      // 33 bits are asked for when count is 2^32 only, which then cannot be rejected.
      const value = bits > 32 ? this.next() : this.next() >>> (32 - bits);
      if (value < count) return low + value;
    }
  }

  /** The generator's next 32 bits. */
  next(): number {
    if (this.#index >= SIZE) this.#advance();
    let y = this.#state[this.#index++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #at(index: number): number {
    return this.#state[index] as number;
  }

  /** `init_by_array`. */
  #seed(key: readonly number[]): void {
    const state = this.#state;
    state[0] = 19650218;
    for (let i = 1; i < SIZE; i++) {
      state[i] = Math.imul(1812433253, this.#at(i - 1) ^ (this.#at(i - 1) >>> 30)) + i;
    }
    let i = 1;
    const mixed = (factor: number): number =>
      this.#at(i) ^ Math.imul(this.#at(i - 1) ^ (this.#at(i - 1) >>> 30), factor);
    const step = (): void => {
      if (++i < SIZE) return;
      state[0] = this.#at(SIZE - 1);
      i = 1;
    };
    for (let k = 0; k < Math.max(SIZE, key.length); k++) {
      const j = k % key.length;
      state[i] = mixed(1664525) + (key[j] as number) + j;
      step();
    }
    for (let k = 1; k < SIZE; k++) {
      state[i] = mixed(1566083941) - i;
      step();
    }
    state[0] = 0x80000000;
  }

  #advance(): void {
    const state = this.#state;
    for (let i = 0; i < SIZE; i++) {
      const y = (this.#at(i) & 0x80000000) | (this.#at((i + 1) % SIZE) & 0x7fffffff);
      const odd = y & 1 ? 0x9908b0df : 0;
      state[i] = this.#at((i + MIDDLE) % SIZE) ^ (y >>> 1) ^ odd;
    }
    this.#index = 0;
  }
}
