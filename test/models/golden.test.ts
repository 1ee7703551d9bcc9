import { goldenExpected } from '../support/golden';
import { expectGreedy, GOLDEN_MODELS, goldenError, greedy, withGolden } from './golden-models';

const cpu = { device: 'cpu' } as const;

describe.each(GOLDEN_MODELS)('%s on the CPU', (name) => {
  test('logits as computed by an independent implementation', async () => {
    expect(await goldenError(name, cpu)).toBeLessThan(1e-3);
  });

  test('greedy continuation as computed by an independent implementation', async () => {
    const { inputIds, greedyIds } = goldenExpected(name);
    const [prompt] = inputIds as [number[]];
    expect(greedyIds.slice(0, prompt.length)).toEqual(prompt);
    await withGolden(name, cpu, async (model) => {
      const tokens = await greedy(model, prompt, greedyIds.length - prompt.length);
      expect([...prompt, ...tokens]).toEqual(greedyIds);
    });
  });
});

describe('llm-int8-hf, a checkpoint of bitsandbytes', () => {
  const options = { ...cpu, quantization: { method: 'llm.int8', mode: 'bitsandbytes' } } as const;

  test("logits in bitsandbytes' mode", async () => {
    expect(await goldenError('llm-int8-hf', options)).toBeLessThan(2e-2);
  });

  test('greedy continuation as on a GPU in fp16, but for ties', async () => {
    const { inputIds, greedyIds } = goldenExpected('llm-int8-hf');
    const [prompt] = inputIds as [number[]];
    const expected = greedyIds.slice(prompt.length);
    await withGolden('llm-int8-hf', options, async (model) => {
      const actual = await greedy(model, prompt, expected.length);
      await expectGreedy(model, { prompt, expected, actual });
    });
  });

  test('logits in paper mode, which rounds less', async () => {
    expect(await goldenError('llm-int8-hf', cpu)).toBeLessThan(2e-2);
  });
});
