import { AutoModelForCausalLM, type QuantizationConfig } from '../../lib';
import { perplexity } from '../../lib/eval/perplexity';
import { splitWindows } from '../../lib/eval/windows';
import { sampleExpected, sampleFolder } from '../support/golden';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';

const ids = heldoutIds();
const load = (name: (typeof SAMPLE_NAMES)[number], quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
    device: 'cpu',
    maxBatch: 2,
    maxContext: 512,
    ...(quantization ? { quantization } : {}),
  });

describe.each(SAMPLE_NAMES)('%s', (name) => {
  const expected = sampleExpected(name).perplexity;
  /** Of the first windows, as reported on the way. */
  const soFar = new Map<number, number>();

  test('has the perplexity that other code computed on all held-out ids, within 0.05%', async () => {
    await using model = await load(name);
    const result = await perplexity(model, ids, {
      onProgress: ({ windows, perplexity }) => soFar.set(windows, perplexity),
    });
    expect(result).toMatchObject({ tokens: 32768, predictions: 64 * 511, windows: 64 });
    expect(Math.abs(result.perplexity / expected - 1)).toBeLessThan(0.0005);
    expect(soFar.get(64)).toBe(result.perplexity);
  });

  test('loses less than 0.5% in LLM.int8()', async () => {
    await using model = await load(name, { method: 'llm.int8' });
    const result = await perplexity(model, ids, { limit: 24 });
    const loss = result.perplexity / (soFar.get(24) as number) - 1;
    expect(Math.abs(loss)).toBeLessThan(0.005);
    // Far nearer than that would mean that nothing was quantized.
    expect(Math.abs(loss)).toBeGreaterThan(1e-5);
  });
});

describe('perplexity', () => {
  test('is exp of the mean over the windows, the last one shorter', async () => {
    await using model = await load('sample-opt');
    const windows = [ids.subarray(0, 100), ids.subarray(100, 200), ids.subarray(200, 230)];
    const nll = (await model.engine.nll(windows)).flatMap((values) => [...values]);
    const mean = nll.reduce((sum, value) => sum + value, 0) / nll.length;
    const seen: number[] = [];
    const result = await perplexity(model, ids.subarray(0, 230), {
      window: 100,
      onProgress: ({ windows }) => seen.push(windows),
    });
    expect(result).toMatchObject({ tokens: 230, predictions: 227, windows: 3 });
    expect(result.perplexity).toBeCloseTo(Math.exp(mean), 3);
    expect(seen.at(-1)).toBe(3);
  });

  test('ends when the signal says so', async () => {
    await using model = await load('sample-opt');
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = () => controller.abort(reason);
    const { signal } = controller;
    await expect(perplexity(model, ids, { signal, onProgress })).rejects.toBe(reason);
  });

  test.each([
    [{ window: 1 }, /window must be a whole number of at least 2 ids, got 1/],
    [{ window: 2.5 }, /window must be a whole number/],
    [{ window: 4096 }, /window is 4096, but the context is limited to 512/],
    [{ limit: 0 }, /limit must be a whole number of at least 1 window, got 0/],
  ])('refuses %j', async (options, message) => {
    await using model = await load('sample-opt');
    const wrong = expect(perplexity(model, ids, options)).rejects;
    await wrong.toMatchObject({
      code: 'ERR_FEWBIT_OPTIONS',
      message: expect.stringMatching(message),
    });
  });

  test('refuses ids that are no tokens, and texts too short to predict', async () => {
    await using model = await load('sample-opt');
    await expect(perplexity(model, [1, 4096])).rejects.toThrow(/\[1\] is 4096/);
    await expect(perplexity(model, [1])).rejects.toThrow(/needs at least 2/);
  });
});

describe('splitWindows', () => {
  const split = (length: number, window: number, limit?: number) =>
    splitWindows(
      Array.from({ length }, (_, i) => i),
      { window, limit },
    ).map((ids) => ids.length);

  test('drops a last window of one id and keeps one of two', () => {
    expect(split(9, 4)).toEqual([4, 4]);
    expect(split(10, 4)).toEqual([4, 4, 2]);
    expect(split(3, 512)).toEqual([3]);
  });

  test('keeps at most `limit` windows', () => {
    expect(split(100, 4, 2)).toEqual([4, 4]);
  });

  test('keeps the order of the ids', () => {
    expect(splitWindows([5, 6, 7, 8], { window: 2 })).toEqual([
      [5, 6],
      [7, 8],
    ]);
  });
});
