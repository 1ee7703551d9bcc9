import { join } from 'node:path';
import { AutoModelForCausalLM, analyzeOutliers, writeOutlierVariant } from '../../lib';
import { OutlierStatistics } from '../../lib/eval/outlier-statistics';
import { drawWithout, randomNumbers } from '../../lib/eval/random';
import { Reservoir } from '../../lib/eval/reservoir';
import { sampleFolder } from '../support/golden';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';

const ids = heldoutIds();
const root = temporaryFolder();
const open = (folder: string) =>
  AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu', maxContext: 512 });

describe.each(SAMPLE_NAMES)('analyzeOutliers on %s', (name) => {
  const planted = [10, 77, 200];

  test('finds exactly the planted features beside those that training made', async () => {
    const variant = join(root, name);
    await writeOutlierVariant(sampleFolder(name), variant, { features: planted });
    await using original = await open(sampleFolder(name));
    await using model = await open(variant);
    const options = { limit: 1, draws: 1 };
    const before = await analyzeOutliers(original, ids, options);
    const after = await analyzeOutliers(model, ids, options);
    const names = ({ features }: typeof before) => features.map(({ feature }) => feature).sort();
    expect(names(before)).not.toEqual(expect.arrayContaining(planted));
    expect(names(after)).toEqual([...names(before), ...planted].sort());
    for (const { feature, layerShare, positionShare } of after.features) {
      if (planted.includes(feature)) expect([layerShare, positionShare > 0.8]).toEqual([1, true]);
    }
    // Both compute the same, and so do both without the planted features.
    expect(after.perplexity.baseline).toBeCloseTo(before.perplexity.baseline, 2);
  });

  test('zeroing the outlier features hurts far more than zeroing as many others', async () => {
    await using model = await open(sampleFolder(name));
    const { perplexity, features } = await analyzeOutliers(model, ids, { limit: 1, draws: 2 });
    const { baseline, zeroed, random, draws } = perplexity as Required<typeof perplexity>;
    expect(zeroed / baseline).toBeGreaterThan(2);
    expect(random / baseline).toBeLessThan(1.25);
    expect(draws.map((draw) => draw.features.length)).toEqual([features.length, features.length]);
    // The hook is gone and the weights are untouched.
    const again = await analyzeOutliers(model, ids, { limit: 1, draws: 2 });
    expect(again.perplexity).toEqual(perplexity);
    expect(model.transformer.context.onLinearInput).toBeUndefined();
  });
});

describe('analyzeOutliers', () => {
  test('reports nothing zeroed when no value reaches the threshold', async () => {
    await using model = await open(sampleFolder('sample-opt'));
    const report = await analyzeOutliers(model, ids, { limit: 1, threshold: 1000 });
    expect(report).toMatchObject({ features: [], others: [], ordinaryShare: 1, tokens: 512 });
    expect(Object.keys(report.perplexity)).toEqual(['baseline']);
  });

  test('ends when the signal says so', async () => {
    await using model = await open(sampleFolder('sample-opt'));
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = () => controller.abort(reason);
    const { signal } = controller;
    await expect(analyzeOutliers(model, ids, { signal, onProgress })).rejects.toBe(reason);
    expect(model.transformer.context.onLinearInput).toBeUndefined();
  });

  test.each([
    [{ threshold: 0 }, /threshold must be above 0, got 0/],
    [{ draws: 0 }, /draws must be a whole number of at least 1, got 0/],
    [{ window: 4096 }, /window is 4096, but the context is limited to 512/],
  ])('refuses %j', async (options, message) => {
    await using model = await open(sampleFolder('sample-opt'));
    await expect(analyzeOutliers(model, ids, options)).rejects.toMatchObject({
      code: 'ERR_FEWBIT_OPTIONS',
      message: expect.stringMatching(message),
    });
  });
});

describe('OutlierStatistics', () => {
  // Two layers, three features, two positions; two inputs in layer 0.
  const statistics = new OutlierStatistics({ layers: 2, features: 3, threshold: 6, seed: 0 });
  statistics.observe(0, Float32Array.of(6, 0, -7, 5.99, 0, 0));
  statistics.observe(0, Float32Array.of(8, 0, 0, 0, 0, 9));
  statistics.observe(1, Float32Array.of(7, 0, 0, 0, 0, 0));
  statistics.endWindow(2);

  test('counts values per feature, and each position of a layer once', () => {
    expect(statistics.features()).toEqual([
      {
        feature: 0,
        layers: [0, 1],
        layerShare: 1,
        positionShare: 0.5,
        values: 3,
        sides: 'positive',
        quartiles: [6.5, 7, 7.5],
        extreme: 8,
      },
      {
        feature: 2,
        layers: [0],
        layerShare: 0.5,
        positionShare: 0.5,
        values: 2,
        sides: 'both',
        quartiles: [-3, 1, 5],
        extreme: 9,
      },
    ]);
  });

  test('counts per layer', () => {
    expect(statistics.layers()).toEqual([
      { layer: 0, features: [0, 2], positionShare: 1, values: 4, extreme: 9 },
      { layer: 1, features: [0], positionShare: 0.5, values: 1, extreme: 7 },
    ]);
    expect(statistics.ordinaryShare).toBeCloseTo(1 - 5 / 18, 12);
  });
});

describe('random', () => {
  test('draws without repetition, and the same again for the same seed', () => {
    const all = Array.from({ length: 50 }, (_, i) => i);
    const draw = (seed: number) => drawWithout(all, 20, randomNumbers(seed));
    expect(new Set(draw(1)).size).toBe(20);
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect(drawWithout([1, 2], 5, randomNumbers(0)).sort()).toEqual([1, 2]);
  });

  test('is spread evenly over [0, 1)', () => {
    const random = randomNumbers(3);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 10000; i++) {
      const bin = Math.floor(random() * 10);
      counts[bin] = (counts[bin] as number) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1150);
  });

  test('a reservoir that overflows still has about the right quartiles', () => {
    const reservoir = new Reservoir(1000, randomNumbers(5));
    for (let i = 0; i < 20000; i++) reservoir.add(i / 20000);
    const [first, median, third] = reservoir.quartiles();
    expect(Math.abs(first - 0.25)).toBeLessThan(0.05);
    expect(Math.abs(median - 0.5)).toBeLessThan(0.05);
    expect(Math.abs(third - 0.75)).toBeLessThan(0.05);
  });
});
