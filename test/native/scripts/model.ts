import { AutoModelForCausalLM } from '../../../lib';
import type { CausalLanguageModel } from '../../../lib/pretrained/model';
import { goldenFolder } from '../../support/golden';

export const PROMPT = [3, 141, 59, 26, 5, 35];

/** A golden model in LLM.int8() on the CPU. */
export function openModel(): Promise<CausalLanguageModel> {
  return AutoModelForCausalLM.fromPretrained(goldenFolder('llama-gqa'), {
    device: 'cpu',
    threads: 1,
    quantization: { method: 'llm.int8' },
  });
}

/** Greedy tokens after the prompt. */
export async function generate(model: CausalLanguageModel, count: number): Promise<number[]> {
  const options = { maxNewTokens: count, ignoreEos: true };
  return (await model.engine.generate(PROMPT, options).result()).tokens;
}
