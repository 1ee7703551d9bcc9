import { AutoModelForCausalLM, AutoTokenizer } from '../../lib';
import { ropeTable } from '../../lib/nn/rope';
import { goldenExpected, sampleExpected, sampleFolder } from '../support/golden';
import { toBfloat16 } from '../support/half';
import { cacheSuite } from './cache-suite';
import { expectGreedy, goldenError, greedy, samplePerplexity, withGolden } from './golden-models';

jest.mock('../../lib/nn/rope', () => ({
  ropeTable: jest.fn(
    jest.requireActual<typeof import('../../lib/nn/rope')>('../../lib/nn/rope').ropeTable,
  ),
}));

/**
 * The golden logits were computed with rotary frequencies rounded to bf16, as a model has them that
 * was cast as a whole. (transformers keeps them in f32 when it loads a checkpoint, and so do we.)
 */
function roundFrequencies(): void {
  const { ropeTable: exact } =
    jest.requireActual<typeof import('../../lib/nn/rope')>('../../lib/nn/rope');
  jest.mocked(ropeTable).mockImplementationOnce((rope, headDim, positions) => {
    const table = exact(rope, headDim, positions);
    const half = headDim / 2;
    for (let i = 0; i < half; i++) {
      const frequency = toBfloat16(Math.fround(rope.theta ** (-i / half))).value;
      for (let p = 0; p < positions; p++) {
        table[p * headDim + i] = Math.cos(p * frequency);
        table[p * headDim + half + i] = Math.sin(p * frequency);
      }
    }
    return table;
  });
}

describe('golden/bitnet-packed on the CPU', () => {
  const name = 'bitnet-packed';

  test('logits as computed by an independent implementation', async () => {
    roundFrequencies();
    // Every code is the same as there, or the error would be 1e-2.
    expect(await goldenError(name, { device: 'cpu' })).toBeLessThan(1e-6);
  });

  test('greedy continuation as computed by an independent implementation', async () => {
    const { inputIds, greedyIds } = goldenExpected(name);
    const [prompt] = inputIds as [number[]];
    await withGolden(name, { device: 'cpu' }, async (model) => {
      const tokens = await greedy(model, prompt, greedyIds.length - prompt.length);
      expect([...prompt, ...tokens]).toEqual(greedyIds);
    });
  });
});

describe('the cache on the CPU', () => cacheSuite('bitnet-packed', { device: 'cpu' }, 1e-5));

describe('sample-bitnet on the CPU', () => {
  const name = 'sample-bitnet';
  const { greedy_prompt, greedy_ids, perplexity } = sampleExpected(name);

  test('held-out perplexity within 0.05%, and what an int8 head costs', async () => {
    const exact = await samplePerplexity(name, { device: 'cpu' });
    expect(Math.abs(exact / perplexity - 1)).toBeLessThan(5e-4);
    const quantization = { method: 'bitnet', lmHead: 'int8' } as const;
    const int8 = await samplePerplexity(name, { device: 'cpu', quantization });
    expect(int8).not.toBe(exact);
    expect(Math.abs(int8 / exact - 1)).toBeLessThan(1e-3);
  }, 300_000);

  test('greedy continuation as by transformers in bf16, but for ties', async () => {
    const folder = sampleFolder(name);
    const tokenizer = await AutoTokenizer.fromPretrained(folder);
    const prompt = [...tokenizer.encode(greedy_prompt)];
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const expected = greedy_ids.slice(prompt.length);
    const actual = await greedy(model, prompt, expected.length);
    // bf16 has 8 bits: logits around 10 are 0.06 apart.
    await expectGreedy(model, { prompt, expected, actual }, 2e-2);
  });
});
