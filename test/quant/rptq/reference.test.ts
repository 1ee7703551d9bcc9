import {
  AutoModelForCausalLM,
  quantize,
  RPTQ_CONFIGS,
  type RptqConfigName,
  type RptqOptions,
} from '../../../lib';
import { Folders } from '../../support/checkpoints';
import { relativeError } from '../../support/golden';
import { FakeQuantized } from './support/fake-quantized';
import { PlainModel } from './support/plain-model';
import { clusterRange, gridOf, observe, type Ranges } from './support/ranges';
import { type Architecture, smallWindows, writeSmallModel } from './support/small-models';

const folders = new Folders();
afterAll(() => folders.dispose());

const windows = smallWindows(5, 40);
// One in whose values none is so near a tie (some 1e-6 of a step) that fp32 and double precision give it
// different codes: the logits of that token then differ by what a step of a code does, as in one prompt
// of every few (of W4A8 most often).
const [, , prompt] = smallWindows(3, 32) as [number[], number[], number[]];

interface Made {
  original: PlainModel;
  fake: FakeQuantized;
  logits: Float32Array;
}

/** What the paper has. */
const PAPER: RptqOptions = {
  metric: 'ema_minmax',
  clusterSizes: 'kmeans',
  clusters: 8,
  cacheClusters: 4,
  keyFeedback: false,
  equalize: false,
  rotate: false,
};

async function make(
  architecture: Architecture,
  config: RptqConfigName,
  options: RptqOptions = PAPER,
): Promise<Made> {
  const [folder, out] = [folders.path(), folders.path()];
  await writeSmallModel(folder, architecture);
  await quantize(
    folder,
    { ...options, method: 'rptq', config },
    { out, device: 'cpu', dataset: windows },
  );
  const original = PlainModel.read(folder);
  await using model = await AutoModelForCausalLM.fromPretrained(out, { device: 'cpu' });
  const { logits } = await model.forward([prompt]);
  return { original, fake: new FakeQuantized(original, out, RPTQ_CONFIGS[config]), logits };
}

const CONFIGS: RptqConfigName[] = [
  'W4A16',
  'W4A8',
  'W4A4',
  'W4A4KV',
  'W3A3KV',
  'W16A16-KV4',
  'W16A16-KV3',
];

describe.each<Architecture>(['llama', 'opt'])('%s', (architecture) => {
  test.each([
    ...CONFIGS.map((config) => [config, 'as the paper has it', PAPER] as const),
    ...CONFIGS.map((config) => [config, 'as it is by default', {}] as const),
  ])(
    '%s %s computes what fake quantization in double precision does',
    async (config, _, options) => {
      const { original, fake, logits } = await make(architecture, config, options);
      const expected = fake.model.forward(prompt, fake.taps());
      const flat = expected.flatMap((row) => [...row]);
      expect(relativeError(logits, flat)).toBeLessThan(1e-4);
      const unquantized = original.forward(prompt).flatMap((row) => [...row]);
      expect(relativeError(logits, unquantized)).toBeGreaterThan(0.02);
    },
  );

  test.each<RptqConfigName>(['W4A8', 'W4A4'])(
    '%s: scales, zero points and clusters of the first layer',
    async (config) => {
      const { original, fake } = await make(architecture, config);
      const widths = RPTQ_CONFIGS[config];
      const first = original.layer(0);
      const seen = observe(original, windows);
      let checked = 0;
      for (const [layer, clusters] of fake.clusters) {
        if (!layer.startsWith(first)) continue;
        const ranges = seen.get(layer) as Ranges;
        const grids = fake.inputs.get(layer) as { scales: number[]; zeros: number[] };
        const isNormed = !/(o_proj|out_proj|down_proj|fc2)$/.test(layer);
        const bits = isNormed ? widths.norm : widths.inner;
        for (const members of clusters) {
          const { scale, zero } = gridOf(clusterRange(ranges, members), bits);
          for (const channel of members) {
            expect((grids.scales[channel] as number) / scale).toBeCloseTo(1, 4);
            expect(grids.zeros[channel]).toBe(zero + 0);
            checked++;
          }
        }
        if (isNormed || !/o_proj|out_proj/.test(layer)) expectNearest(ranges, clusters);
      }
      expect(checked).toBeGreaterThan(300);
      // Grids of keys below 8 bits are as wide as suits the scores: see key-feedback.test.ts.
      const kinds =
        widths.cache < 8 ? (['query', 'value'] as const) : (['query', 'key', 'value'] as const);
      for (const kind of kinds) {
        const name = `${first}.self_attn ${kind}`;
        expectCacheGrids(
          seen.get(name) as Ranges,
          fake.cache.get(name) as Grids,
          kind === 'query' ? widths.query : widths.cache,
        );
      }
    },
  );

  test('a cache alone: its grids are those of the channels, which keep their places', async () => {
    const { original, fake } = await make(architecture, 'W16A16-KV4');
    const name = `${original.layer(0)}.self_attn value`;
    const seen = observe(original, windows);
    expectCacheGrids(seen.get(name) as Ranges, fake.cache.get(name) as Grids, 4);
  });
});

type Grids = { scales: number[]; zeros: number[] };

/** KMeans is done when every channel is nearest to the mean of its own cluster. */
function expectNearest(ranges: Ranges, clusters: readonly number[][]): void {
  const point = (k: number): [number, number] => [
    Math.max(...ranges.map(({ max }) => max[k] as number)),
    Math.min(...ranges.map(({ min }) => min[k] as number)),
  ];
  const centers = clusters.map((members) => {
    const points = members.map(point);
    return [0, 1].map((d) => points.reduce((sum, p) => sum + (p[d] as number), 0) / points.length);
  });
  const distance = (p: [number, number], c: number[]): number =>
    Math.hypot(p[0] - (c[0] as number), p[1] - (c[1] as number));
  for (const [c, members] of clusters.entries()) {
    for (const channel of members) {
      const p = point(channel);
      const nearest = Math.min(...centers.map((center) => distance(p, center)));
      expect(distance(p, centers[c] as number[])).toBeLessThan(nearest + 1e-5);
    }
  }
}

/** Channels of a head with one grid are a cluster, of which there are at most 4. */
function expectCacheGrids(ranges: Ranges, { scales, zeros }: Grids, bits: number): void {
  const width = 32;
  for (let head = 0; head < scales.length / width; head++) {
    const clusters = new Map<string, number[]>();
    for (let k = head * width; k < (head + 1) * width; k++) {
      const key = `${scales[k]} ${zeros[k]}`;
      clusters.set(key, [...(clusters.get(key) ?? []), k]);
    }
    expect(clusters.size).toBeLessThanOrEqual(4);
    for (const members of clusters.values()) {
      const { scale, zero } = gridOf(clusterRange(ranges, members), bits);
      expect((scales[members[0] as number] as number) / scale).toBeCloseTo(1, 4);
      expect(zeros[members[0] as number]).toBe(zero + 0);
    }
  }
}
