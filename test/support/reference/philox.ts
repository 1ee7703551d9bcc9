const MASK = 0xffffffffn;

/** Philox4x32-10 (Salmon et al., SC 2011) in big integers. */
export function philox4x32(counter: readonly bigint[], key: readonly bigint[]): bigint[] {
  let [a, b, c, d] = counter as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const [p, q] = [a * 0xd2511f53n, c * 0xcd9e8d57n];
    [a, b, c, d] = [(q >> 32n) ^ b ^ k0, q & MASK, (p >> 32n) ^ d ^ k1, p & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [a, b, c, d];
}

/** The first word, as a number. */
export function firstWord(counter: readonly bigint[], key: readonly bigint[]): number {
  return Number(philox4x32(counter, key)[0]);
}
