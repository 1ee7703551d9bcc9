import type { CausalLanguageModel } from '../../lib';
import type { FromPretrainedOptions } from '../../lib/pretrained/auto';
import { expectGreedy, goldenError, greedy, withGolden } from '../models/golden-models';
import { goldenExpected } from '../support/golden';

export const f16: FromPretrainedOptions = { device: 'cuda', dtype: 'f16' };
export const bf16: FromPretrainedOptions = { device: 'cuda', dtype: 'bf16' };

/** A golden model on CUDA against what was computed in float32. `inspect` looks at it in fp16. */
export function goldenSuite(
  name: string,
  inspect: (model: CausalLanguageModel) => void = () => {},
): void {
  test('logits in fp16', async () => {
    expect(await goldenError(name, f16)).toBeLessThan(2e-2);
  });

  test('logits in bf16, which has 3 bits less', async () => {
    expect(await goldenError(name, bf16)).toBeLessThan(5e-2);
  });

  test('greedy continuation as in float32, but for ties', async () => {
    const { inputIds, greedyIds } = goldenExpected(name);
    const [prompt] = inputIds as [number[]];
    const expected = greedyIds.slice(prompt.length);
    await withGolden(name, f16, async (model) => {
      inspect(model);
      const actual = await greedy(model, prompt, expected.length);
      await expectGreedy(model, { prompt, expected, actual }, 2e-2);
    });
  });
}
