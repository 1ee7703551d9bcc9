import { AutoModelForCausalLM, AutoTokenizer } from '../../lib';
import { sampleExpected, sampleFolder } from '../support/golden';
import { expectGreedy, greedy, samplePerplexity } from './golden-models';

describe.each(['sample-llama', 'sample-opt'])('%s on the CPU', (name) => {
  const { greedy_prompt, greedy_ids, perplexity } = sampleExpected(name);

  test('greedy continuation as by transformers in fp16, but for ties', async () => {
    const folder = sampleFolder(name);
    const tokenizer = await AutoTokenizer.fromPretrained(folder);
    const prompt = [...tokenizer.encode(greedy_prompt)];
    expect(greedy_ids.slice(0, prompt.length)).toEqual(prompt);
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const expected = greedy_ids.slice(prompt.length);
    const actual = await greedy(model, prompt, expected.length);
    await expectGreedy(model, { prompt, expected, actual });
  });

  test('held-out perplexity: exact in float32, within 0.5% in LLM.int8()', async () => {
    const full = await samplePerplexity(name, { device: 'cpu' });
    expect(Math.abs(full / perplexity - 1)).toBeLessThan(5e-4);
    const quantization = { method: 'llm.int8' } as const;
    const int8 = await samplePerplexity(name, { device: 'cpu', quantization });
    expect(Math.abs(int8 / full - 1)).toBeLessThan(5e-3);
  }, 300_000);
});
