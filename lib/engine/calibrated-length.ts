import type { CacheShape } from '../nn/causal-lm';

/** Tells once of a cache whose scales were found on shorter texts than it is used for. */
export class CalibratedLength {
  readonly #limit: number;
  #told = false;

  constructor({ grids, calibratedLength = Number.POSITIVE_INFINITY }: CacheShape) {
    this.#limit = grids ? calibratedLength : Number.POSITIVE_INFINITY;
  }

  /** @param tokens of one sequence, so far */
  check(tokens: number): void {
    if (this.#told || tokens <= this.#limit) return;
    this.#told = true;
    process.emitWarning(
      `the cache has scales that were calibrated on windows of at most ${this.#limit} tokens, but a ` +
        `sequence has ${tokens}: values that later positions bring may lie outside of the ranges seen ` +
        'and be clipped. Calibrate with longer windows (seqlen) for such texts.',
      { code: 'FEWBIT_CALIBRATED_LENGTH' },
    );
  }
}
