import { AutoModelForCausalLM } from '../../lib';
import type { FromPretrainedOptions } from '../../lib/pretrained/auto';
import type { CausalLanguageModel } from '../../lib/pretrained/model';
import {
  goldenExpected,
  goldenFolder,
  heldoutWindows,
  relativeError,
  sampleFolder,
} from '../support/golden';

export const GOLDEN_MODELS = ['llama-gqa', 'llama3-rope', 'opt', 'opt-350m-style'] as const;

/** Golden checkpoints in GPTQ's format. */
export const GPTQ_MODELS = [
  'gptq-2bit-g32-asym-v2',
  'gptq-3bit-g32-desc_act-asym-v2',
  'gptq-4bit-g64-desc_act-v1',
  'gptq-8bit-g32-sym-v1',
] as const;

/** Loads a golden checkpoint, runs `use`, and frees it. */
export async function withGolden<T>(
  name: string,
  options: FromPretrainedOptions,
  use: (model: CausalLanguageModel) => Promise<T>,
): Promise<T> {
  await using model = await AutoModelForCausalLM.fromPretrained(goldenFolder(name), options);
  return await use(model);
}

/** Relative error (norm) of a model's logits against the golden ones. */
export async function goldenError(name: string, options: FromPretrainedOptions): Promise<number> {
  const { inputIds, logits, logitsShape } = goldenExpected(name);
  return withGolden(name, options, async (model) => {
    const result = await model.forward(inputIds);
    expect(result.shape).toEqual(logitsShape);
    return relativeError(result.logits, logits);
  });
}

/** Perplexity of a sample model on all 64 windows of the held-out ids. */
export async function samplePerplexity(
  name: string,
  options: FromPretrainedOptions,
): Promise<number> {
  await using model = await AutoModelForCausalLM.fromPretrained(sampleFolder(name), options);
  const nll = await model.engine.nll(heldoutWindows(64));
  const predictions = nll.reduce((count, { length }) => count + length, 0);
  const sum = nll.reduce((total, values) => values.reduce((a, b) => a + b, total), 0);
  return Math.exp(sum / predictions);
}

/** Greedy continuation of ids by a model. */
export async function greedy(
  model: CausalLanguageModel,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const options = { maxNewTokens: count, ignoreEos: true };
  const { tokens } = await model.engine.generate(prompt, options).result();
  return tokens;
}

/** Logits of the token after `ids`, by one pass over all of them. */
export async function nextLogits(
  model: CausalLanguageModel,
  ids: readonly number[],
): Promise<Float32Array> {
  const { logits, shape } = await model.forward([ids]);
  return logits.slice(-shape[2]);
}

/**
 * Where a greedy continuation leaves an expected one that was computed in fp16: both tokens must be
 * as likely as each other up to the rounding of fp16 logits, a few units of 2^-11 of the largest
 * logit; what follows the first difference has nothing to compare.
 * @returns the number of tokens that agree
 */
export async function expectGreedy(
  model: CausalLanguageModel,
  { prompt, expected, actual }: { prompt: number[]; expected: number[]; actual: number[] },
  tie = 1e-2,
): Promise<number> {
  const first = expected.findIndex((token, i) => actual[i] !== token);
  if (first < 0) return expected.length;
  const logits = await nextLogits(model, [...prompt, ...expected.slice(0, first)]);
  const [ours, theirs] = [actual[first], expected[first]].map((id) => logits[id as number]);
  const largest = logits.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  expect(Math.abs((ours as number) - (theirs as number)) / largest).toBeLessThan(tie);
  return first;
}
