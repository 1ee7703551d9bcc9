import { FewbitError } from '../errors';

/** Sums negative log-likelihoods (in nats) into a perplexity. */
export class MeanNll {
  #sum = 0;
  #predictions = 0;

  get predictions(): number {
    return this.#predictions;
  }

  /** exp of the mean; NaN before the first prediction. */
  get perplexity(): number {
    return Math.exp(this.#sum / this.#predictions);
  }

  /** @throws FewbitError `ERR_FEWBIT_NAN` when the model's logits were not numbers */
  add(nll: Float32Array): void {
    for (const value of nll) this.#sum += value;
    this.#predictions += nll.length;
    if (Number.isNaN(this.#sum)) {
      throw new FewbitError(
        'ERR_FEWBIT_NAN',
        'the logits are not numbers: the weights hold NaN or infinity, or activations left the ' +
          'range of their dtype (try bf16 or f32)',
      );
    }
  }
}
