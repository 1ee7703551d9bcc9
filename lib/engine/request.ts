import { FewbitError } from '../errors';
import type { FinishReason, Generation } from './generation';
import type { Sequence } from './sequence';
import type { TextOutput } from './text-output';

/** What `sample` yields for a row whose logits are not numbers. */
const NAN_TOKEN = -2;

/** A sequence in the engine and the generation that its caller holds. */
export class Request {
  readonly sequence: Sequence;
  readonly generation: Generation;
  readonly #output: TextOutput;

  constructor(sequence: Sequence, generation: Generation, output: TextOutput) {
    this.sequence = sequence;
    this.generation = generation;
    this.#output = output;
  }

  /** Takes the sampled token, and ends the sequence if it was the last. */
  accept(token: number): void {
    try {
      this.#accept(token);
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error: unknown): void {
    this.sequence.finished = true;
    this.generation.fail(error);
  }

  #accept(token: number): void {
    const { sequence, generation } = this;
    if (token === NAN_TOKEN) {
      throw new FewbitError(
        'ERR_FEWBIT_NAN',
        `the logits of token ${sequence.tokens.length} are not numbers: the weights hold NaN or ` +
          'infinity, or activations left the range of their dtype (try bf16 or f32)',
      );
    }
    if (sequence.params.stopTokenIds.has(token)) {
      this.#end('stop', undefined, '');
      return;
    }
    sequence.tokens.push(token);
    const { text, stopped } = this.#output.push(token);
    if (stopped) {
      generation.push({ token, text });
      this.#finish('stop_string');
    } else if (sequence.generated >= sequence.maxNewTokens) {
      this.#end('length', token, text);
    } else {
      generation.push({ token, text });
    }
  }

  /** Ends with the text that was held back, in which a stop string may still turn up. */
  #end(reason: FinishReason, token: number | undefined, text: string): void {
    const rest = this.#output.flush();
    const all = text + rest.text;
    if (token !== undefined || all !== '') this.generation.push({ token, text: all });
    this.#finish(rest.stopped ? 'stop_string' : reason);
  }

  #finish(reason: FinishReason): void {
    this.sequence.finished = true;
    this.generation.finish(reason);
  }
}
