import { AutoModelForCausalLM, AutoTokenizer, OptionsError } from '../../lib';
import { pageBytes } from '../../lib/engine';
import { perplexity } from '../../lib/eval/perplexity';
import { sampleFolder } from '../support/golden';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';

const ids = heldoutIds();
const load = (name: string, kvBits: 16 | 8 | 4 | 3) =>
  AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
    device: 'cpu',
    maxBatch: 2,
    maxContext: 512,
    kvBits,
  });

/**
 * Largest loss in perplexity with 8, 4 and 3 bits. A head of OPT's keys has a few features far larger
 * than the others, so that one scale for all of it costs much more.
 */
const LIMITS = { 'sample-llama': [0.002, 0.03, 0.2], 'sample-opt': [0.003, 0.2, 0.6] } as const;

describe.each(SAMPLE_NAMES)('%s with keys and values of few bits', (name) => {
  const limits = LIMITS[name];
  const measured = async (bits: 16 | 8 | 4 | 3): Promise<number> => {
    await using model = await load(name, bits);
    const result = await perplexity(model, ids, { limit: 6 });
    return result.perplexity;
  };

  test('8 bits lose next to nothing, 4 bits little, 3 bits more', async () => {
    const plain = await measured(16);
    const losses = [await measured(8), await measured(4), await measured(3)].map(
      (value) => value / plain - 1,
    );
    const [eight, four, three] = losses as [number, number, number];
    // Exactly equal would mean that nothing was quantized.
    expect(Math.abs(eight)).toBeGreaterThan(1e-7);
    expect(Math.abs(eight)).toBeLessThan(limits[0]);
    expect(four).toBeLessThan(limits[1]);
    expect(three).toBeLessThan(limits[2]);
    expect(three).toBeGreaterThan(four);
  });

  test('a sequence decodes alike alone and beside another', async () => {
    await using model = await load(name, 4);
    const tokenizer = await AutoTokenizer.fromPretrained(sampleFolder(name));
    const options = { maxNewTokens: 24, temperature: 0 };
    const prompts = ['It was a dark night, and the old man', 'She opened the door'];
    const together = await model.generate(tokenizer, prompts, options);
    const alone = await model.generate(tokenizer, prompts.slice(0, 1), options);
    expect(together[0]?.text).toBe(alone[0]?.text);
    expect(alone[0]?.tokens).toHaveLength(24);
  });
});

test('the cache takes the bytes of its codes and scales', async () => {
  await using plain = await load('sample-llama', 16);
  await using coded = await load('sample-llama', 4);
  const { headDim } = plain.transformer.cacheShape;
  const pageOf = ({ engine: { sizes } }: typeof plain) =>
    pageBytes(sizes.cacheShape, sizes.pageSize);
  expect(pageOf(plain) / pageOf(coded)).toBeCloseTo((4 * headDim) / (headDim / 2 + 4), 6);
});

test('a width that does not exist is refused', async () => {
  await using model = await load('sample-opt', 5 as 4);
  expect(() => model.engine).toThrow(OptionsError);
  expect(() => model.engine).toThrow('kvBits must be 16, 8, 4 or 3, got 5');
});
