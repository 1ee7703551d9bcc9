import { OptionsError, RPTQ_CONFIGS, RptqConfig, type RptqOptions } from '../../../lib';
import { clusterPlan } from '../../../lib/quant/rptq/cluster-plan';

test('the configurations mean what those of the reference implementation do', () => {
  const widths = Object.entries(RPTQ_CONFIGS).map(([name, bits]) => {
    const { weights, norm, query, cache, inner } = bits;
    return [name, weights, norm, query, cache, inner];
  });
  // Name, weights, outputs of norms, queries, keys and values, inputs of the other two projections.
  expect(widths).toEqual([
    ['W4A16', 4, 16, 16, 16, 16],
    ['W4A8', 4, 8, 8, 8, 8],
    ['W4A4', 4, 8, 4, 4, 4],
    ['W4A4KV', 4, 16, 16, 4, 16],
    ['W4A3KV', 4, 16, 16, 3, 16],
    ['W3A3KV', 3, 16, 16, 3, 16],
    ['W16A16-KV4', 16, 16, 16, 4, 16],
    ['W16A16-KV3', 16, 16, 16, 3, 16],
  ]);
});

test.each<[object, RegExp]>([
  [{ config: 'W2A2' }, /W4A16.*at config/],
  [{ groupSize: 48 }, /multiple of 32.*at groupSize/],
  [{ groupSize: -1 }, /groupSize/],
  [{ clusters: 0 }, /clusters/],
  [{ clusterSizes: 'uneven' }, /clusterSizes/],
  [{ metric: 'max' }, /metric/],
  [{ damp: 2 }, /damp/],
  [{ equalize: 1 }, /equalize/],
  [{ rotate: 'always' }, /rotate/],
  [{ bits: 4 }, /bits/],
])('%o is refused', (options, message) => {
  const make = () => new RptqConfig(options as RptqOptions);
  expect(make).toThrow(OptionsError);
  expect(make).toThrow(message);
});

describe('clusters and groups', () => {
  const plan = (channels: number, width: number, options: RptqOptions = {}) => {
    const config = new RptqConfig({ clusterSizes: 'balanced', ...options });
    const { count, groupSize, options: how } = clusterPlan(channels, width, config);
    return [count, how.multiple, groupSize];
  };

  test.each([
    // OPT-125M and 13B, Llama-2-7B: channels, then clusters, what they are multiples of, group.
    [768, [24, 32, 32]],
    [5120, [32, 32, 32]],
    [20480, [32, 32, 128]],
    [4096, [32, 32, 128]],
    [11008, [32, 32, 32]],
    [256, [8, 32, 32]],
  ])('%i channels', (channels, expected) => {
    expect(plan(channels, channels)).toEqual(expected);
  });

  test.each([
    [4096, 128, [4, 32, 32]],
    [768, 64, [2, 32, 32]],
    [2560, 80, [4, 16, 32]],
  ])('%i channels in heads of %i', (channels, width, expected) => {
    expect(plan(channels, width)).toEqual(expected);
  });

  test('of sizes as KMeans finds them, groups are no wider than the average', () => {
    expect(plan(4096, 4096, { clusterSizes: 'kmeans' })).toEqual([32, 1, 128]);
    expect(plan(5120, 5120, { clusterSizes: 'kmeans' })).toEqual([32, 1, 128]);
    expect(plan(256, 256, { clusterSizes: 'kmeans' })).toEqual([32, 1, 32]);
  });

  test('a group size is taken where the inputs divide into it', () => {
    expect(plan(4096, 4096, { groupSize: 64 })).toEqual([32, 64, 64]);
    expect(plan(4096, 4096, { groupSize: 1024 })).toEqual([4, 1024, 1024]);
    expect(plan(96, 96, { groupSize: 64 })).toEqual([3, 32, 32]);
  });
});
