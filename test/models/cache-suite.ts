import { AutoModelForCausalLM } from '../../lib';
import type { FromPretrainedOptions } from '../../lib/pretrained/auto';
import type { CausalLanguageModel } from '../../lib/pretrained/model';
import { goldenExpected, goldenFolder, relativeError } from '../support/golden';
import { expectGreedy, greedy, nextLogits } from './golden-models';

/**
 * Decoding step by step with the cache against full recomputation, and sequences in a batch against
 * the same ones alone.
 * @param tolerance of the device's arithmetic, relative to the norm of the logits
 */
export function cacheSuite(name: string, options: FromPretrainedOptions, tolerance: number): void {
  let model: CausalLanguageModel;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.fromPretrained(goldenFolder(name), options);
  });
  afterAll(() => model?.dispose());
  const { inputIds } = goldenExpected(name);
  const [prompt] = inputIds as [number[]];

  test('decoding with the cache equals full recomputation', async () => {
    const tokens = await greedy(model, prompt, 24);
    const recomputed: number[] = [];
    for (const _ of tokens) {
      const logits = await nextLogits(model, [...prompt, ...recomputed]);
      recomputed.push(logits.indexOf(logits.reduce((a, b) => Math.max(a, b))));
    }
    await expectGreedy(model, { prompt, expected: recomputed, actual: tokens }, tolerance);
  });

  test('a sequence alone equals the same sequence in a batch', async () => {
    const lengths = [1, 7, 16, 33, 40];
    const batch = lengths.map((length) => prompt.slice(0, length));
    const together = await model.forward(batch);
    const [, seq, vocab] = together.shape;
    for (const [row, ids] of batch.entries()) {
      const alone = await model.forward([ids]);
      const begin = row * seq * vocab;
      const part = together.logits.subarray(begin, begin + ids.length * vocab);
      expect(relativeError(part, alone.logits)).toBeLessThan(tolerance);
    }
    const results = await model.engine.generateAll(batch, { maxNewTokens: 12, ignoreEos: true });
    for (const [row, ids] of batch.entries()) {
      const expected = await greedy(model, ids, 12);
      const { tokens } = results[row] as { tokens: number[] };
      await expectGreedy(model, { prompt: ids, expected, actual: tokens }, tolerance);
    }
  });
}
