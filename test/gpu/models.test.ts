import { AutoModelForCausalLM, AutoTokenizer } from '../../lib';
import { cacheSuite } from '../models/cache-suite';
import {
  expectGreedy,
  GOLDEN_MODELS,
  goldenError,
  greedy,
  samplePerplexity,
  withGolden,
} from '../models/golden-models';
import { goldenExpected, sampleExpected, sampleFolder } from '../support/golden';
import { describeGpu } from '../support/gpu';
import { bf16, f16, goldenSuite } from './golden-suite';

const int8 = { method: 'llm.int8' } as const;

describeGpu('on CUDA', () => {
  describe.each(GOLDEN_MODELS)('%s', (name) => {
    goldenSuite(name);

    describe('in fp16', () => cacheSuite(name, f16, 1e-2));
    describe('in int8 without decomposition', () =>
      cacheSuite(name, { ...f16, quantization: { ...int8, threshold: 0 } }, 1e-2));
  });

  test("llm-int8-hf in bitsandbytes' mode", async () => {
    const quantization = { ...int8, mode: 'bitsandbytes' } as const;
    expect(await goldenError('llm-int8-hf', { ...f16, quantization })).toBeLessThan(2e-2);
  });

  test('lookahead changes no token', async () => {
    const { inputIds } = goldenExpected('llama-gqa');
    const prompts = inputIds.map((ids, i) => ids.slice(0, 20 + 9 * i));
    const run = (lookahead: boolean) =>
      withGolden('llama-gqa', { ...f16, lookahead }, async ({ engine }) => {
        const results = await engine.generateAll(prompts, { maxNewTokens: 40, ignoreEos: true });
        return results.map(({ tokens }) => tokens);
      });
    expect(await run(true)).toEqual(await run(false));
  });

  describe.each(['sample-llama', 'sample-opt'])('%s', (name) => {
    const { greedy_prompt, greedy_ids, perplexity } = sampleExpected(name);

    test('greedy continuation as by transformers in fp16, but for ties', async () => {
      const folder = sampleFolder(name);
      const tokenizer = await AutoTokenizer.fromPretrained(folder);
      const prompt = [...tokenizer.encode(greedy_prompt)];
      const expected = greedy_ids.slice(prompt.length);
      await using model = await AutoModelForCausalLM.fromPretrained(folder, f16);
      const actual = await greedy(model, prompt, expected.length);
      await expectGreedy(model, { prompt, expected, actual });
    });

    test('held-out perplexity within 0.5%, in fp16, bf16 and LLM.int8()', async () => {
      const full = await samplePerplexity(name, f16);
      expect(Math.abs(full / perplexity - 1)).toBeLessThan(5e-3);
      const wide = await samplePerplexity(name, bf16);
      expect(Math.abs(wide / perplexity - 1)).toBeLessThan(5e-3);
      for (const mode of ['paper', 'bitsandbytes'] as const) {
        const quantized = await samplePerplexity(name, {
          ...f16,
          quantization: { ...int8, mode },
        });
        expect(Math.abs(quantized / full - 1)).toBeLessThan(5e-3);
      }
    });
  });
});
