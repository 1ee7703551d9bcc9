import { RptqConfig, type RptqOptions } from '../../../lib';
import { randomNumbers } from '../../../lib/eval/random';
import { dequantize, quantize } from '../../../lib/quant/rptq/affine';
import { clusterPlan } from '../../../lib/quant/rptq/cluster-plan';
import {
  clusterBounds,
  clusterChannels,
  clusterHeads,
  invertOrder,
} from '../../../lib/quant/rptq/clusters';
import { channelGrid, designInput } from '../../../lib/quant/rptq/input-design';
import { Observed } from '../../../lib/quant/rptq/observed';
import { ChannelRanges, type Extremes } from '../../../lib/quant/rptq/ranges';
import { gaussian } from '../../support/random';

function extremes(channels: number, seed: number): Extremes {
  const random = randomNumbers(seed);
  const max = Float64Array.from({ length: channels }, () => random() ** 4 * 20);
  const min = Float64Array.from({ length: channels }, () => -(random() ** 4) * 20);
  return { min, max };
}

function expectBijection(order: Int32Array): void {
  expect([...order].sort((a, b) => a - b)).toEqual([...order.keys()]);
}

test('groups channels of similar range, the widest last', () => {
  const max = Float64Array.from([1, 30, 1.1, 8, 0.9, 31, 8.2]);
  const min = max.map((x) => -x);
  const { order, sizes } = clusterChannels([{ min, max }], 3);
  expect([...order]).toEqual([0, 2, 4, 3, 6, 1, 5]);
  expect(sizes).toEqual([3, 2, 2]);
  expect(clusterBounds(sizes)).toEqual([0, 3, 5, 7]);
});

test.each(['kmeans', 'equal'] as const)('%s: every channel once, sizes that add up', (sizes) => {
  for (const [channels, count] of [
    [256, 32],
    [100, 7],
    [5, 32],
  ] as const) {
    const clusters = clusterChannels([extremes(channels, 1)], count, { sizes });
    expectBijection(clusters.order);
    expect(clusters.sizes.reduce((sum, size) => sum + size, 0)).toBe(channels);
    expect(clusters.sizes.length).toBeLessThanOrEqual(Math.min(count, channels));
    expect(Math.min(...clusters.sizes)).toBeGreaterThan(0);
    if (sizes === 'equal') {
      expect(Math.max(...clusters.sizes) - Math.min(...clusters.sizes)).toBeLessThanOrEqual(1);
    }
  }
});

test('clusters narrow the ranges that share a scale', () => {
  const activation = extremes(512, 9);
  const spread = ({ order, sizes }: { order: Int32Array; sizes: readonly number[] }): number => {
    const bounds = clusterBounds(sizes);
    return sizes.reduce((sum, size, c) => {
      const members = [...order.subarray(bounds[c], bounds[c + 1])];
      const max = Math.max(...members.map((k) => activation.max[k] as number));
      const min = Math.min(...members.map((k) => activation.min[k] as number));
      return sum + size * (max - min);
    }, 0);
  };
  const one = spread(clusterChannels([activation], 1));
  const many = spread(clusterChannels([activation], 32));
  const equal = spread(clusterChannels([activation], 32, { sizes: 'equal' }));
  expect(many).toBeLessThan(one / 3);
  expect(equal).toBeLessThan(one / 2);
});

test('heads keep their channels, also where two activations share an order', () => {
  const heads = 4;
  const { order, sizes } = clusterHeads([extremes(64, 2), extremes(64, 3)], heads, 4);
  expectBijection(order);
  for (const [position, channel] of order.entries()) {
    expect(Math.floor(channel / 16)).toBe(Math.floor(position / 16));
  }
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(64);
});

test('an inverted order undoes it', () => {
  const { order } = clusterChannels([extremes(40, 4)], 5);
  const inverse = invertOrder(order);
  expect([...order].map((channel) => inverse[channel])).toEqual([...order.keys()]);
});

test('the range of a cluster averages the extremes of the cluster, not of its channels', () => {
  const samples = [
    [
      [1, -2],
      [3, 0],
    ],
    [
      [5, -1],
      [2, -4],
    ],
    [
      [0, 1],
      [1, 2],
    ],
  ];
  const ranges = new ChannelRanges(2);
  for (const rows of samples) ranges.add(Float32Array.from(rows.flat()));
  expect(ranges.samples).toBe(3);
  expect(ranges.overall()).toEqual({
    min: Float64Array.from([0, -4]),
    max: Float64Array.from([5, 2]),
  });
  // Extremes of both channels together in each sample: [-2, 3], [-4, 5], [0, 2].
  const moved = (first: number, second: number, third: number): number =>
    0.99 * (0.99 * first + 0.01 * second) + 0.01 * third;
  const { min, max } = ranges.ofCluster([0, 1]);
  expect(min).toBeCloseTo(moved(-2, -4, 0), 12);
  expect(max).toBeCloseTo(moved(3, 5, 2), 12);
  const single = [0, 1].map((k) => ranges.ofCluster([k]).max);
  expect(Math.max(...single)).not.toBeCloseTo(max, 3);
});

describe('the error of a few bits', () => {
  /** Rows of channels whose sizes differ by orders of magnitude, some with an offset. */
  function observed(channels: number, seed: number): Observed {
    const random = randomNumbers(seed);
    const next = gaussian(seed);
    const sizes = Array.from({ length: channels }, () => Math.exp(4 * random() - 2));
    const offsets = sizes.map((size) => (random() < 0.2 ? 10 * size : 0));
    const seen = new Observed(channels);
    for (let window = 0; window < 3; window++) {
      const rows = new Float32Array(40 * channels);
      for (let i = 0; i < rows.length; i++) {
        const k = i % channels;
        rows[i] = (offsets[k] as number) + next() * (sizes[k] as number);
      }
      seen.add(rows);
    }
    return seen;
  }

  function squaredError(seen: Observed, options: RptqOptions): number {
    const config = new RptqConfig(options);
    const plan = clusterPlan(seen.channels, seen.channels, config);
    const design = designInput(seen, { plan, bits: 4, metric: config.metric });
    const grid = channelGrid(design);
    let sum = 0;
    for (const row of seen.sample.rows) {
      for (const [place, channel] of design.order.entries()) {
        const own = { scale: grid[place] as number, zero: grid[seen.channels + place] as number };
        const x = row[channel] as number;
        sum += (dequantize(quantize(x, own, 4), own) - x) ** 2;
      }
    }
    return sum;
  }

  test.each([1, 2, 3, 4, 5])('clusters are never worse than one (seed %i)', (seed) => {
    const seen = observed(256, seed);
    for (const metric of ['mse', 'ema_minmax'] as const) {
      const one = squaredError(seen, { metric, clusters: 1 });
      const kmeans = squaredError(seen, { metric, clusterSizes: 'kmeans' });
      const balanced = squaredError(seen, { metric, clusterSizes: 'balanced' });
      expect(kmeans).toBeLessThan(one / 3);
      expect(balanced).toBeLessThan(one);
    }
  });
});
