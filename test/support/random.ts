// Jest looks globals up through its sandbox, which is slow in a loop.
const { cos, floor, imul, log, PI, sqrt } = Math;

/** A reproducible stream of numbers in 0 .. 1 (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = imul(state ^ (state >>> 15), state | 1);
    word ^= word + imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers (Box and Muller). */
export function gaussian(seed: number): () => number {
  const next = uniform(seed);
  return () => sqrt(-2 * log(1 - next())) * cos(2 * PI * next());
}

/** Whole numbers from low to high. */
export function integer(seed: number, low: number, high: number): () => number {
  const next = uniform(seed);
  return () => low + floor(next() * (high - low + 1));
}
