/**
 * A reproducible generator of numbers in [0, 1): SplitMix32, enough for drawing features and
 * samples.
 */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** `count` different elements of `from` (all, if there are fewer), in random order. */
export function drawWithout<T>(from: readonly T[], count: number, random: () => number): T[] {
  const pool = [...from];
  const drawn: T[] = [];
  while (drawn.length < count && pool.length > 0) {
    const index = Math.floor(random() * pool.length);
    drawn.push(pool[index] as T);
    pool[index] = pool.at(-1) as T;
    pool.pop();
  }
  return drawn;
}
