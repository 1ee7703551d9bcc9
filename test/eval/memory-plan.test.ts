import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  type FromPretrainedOptions,
  memoryNeeds,
  type QuantizeConfig,
  quantize,
} from '../../lib';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint';
import { presetConfig } from '../../lib/checkpoint/presets';
import { Device } from '../../lib/device';
import { planMemory } from '../../lib/eval/memory';
import { RandomSource } from '../../lib/models/sources';
import { openSource } from '../../lib/pretrained/auto';
import { calibrateKvCache } from '../../lib/pretrained/kv-calibration';
import { SMALL_VOCAB, writeSmallLlama } from '../support/small-llama';
import { temporaryFolder } from '../support/temporary-folder';

const root = temporaryFolder();
const original = join(root, 'original');
const SIZES = { batch: 3, context: 50 };
const windows = [1, 2, 3, 4].map((step) =>
  Array.from({ length: 48 }, (_, i) => (i * step * 7) % SMALL_VOCAB),
);

beforeAll(() => writeSmallLlama(original, { hidden: 128, headDim: 64, inner: 256 }));

async function planned(name: string) {
  using device = Device.open('cpu');
  const checkpoint = await openCheckpoint(original);
  const source = await openSource(checkpoint);
  try {
    const options = { batch: [SIZES.batch], context: [SIZES.context], halves: false };
    const plans = planMemory(device, checkpoint.config, source, options);
    const found = plans.find((plan) => plan.name === name)?.needs;
    if (!found) throw new Error(`${name} is not among ${plans.map((plan) => plan.name)}`);
    return found;
  } finally {
    source.dispose();
  }
}

async function expectAllocated(
  name: string,
  folder: string,
  options: Partial<FromPretrainedOptions> = {},
): Promise<void> {
  const needs = await planned(name);
  await using model = await AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    maxBatch: SIZES.batch,
    maxContext: SIZES.context,
    ...options,
  });
  // The counters of `int8Share` are 16 bytes.
  const loaded = model.device.memory().used;
  expect(loaded - 16).toBe(needs.weights);
  await model.engine.generateAll(
    windows.slice(0, 3).map((ids) => Uint16Array.from(ids.slice(0, 40))),
    { maxNewTokens: 4 },
  );
  expect(model.engine.usage.cacheBytes).toBe(needs.kvCache);
  const activations = model.device.memory().peak - loaded - needs.kvCache;
  expect(needs.activations / activations).toBeGreaterThan(0.6);
  expect(needs.activations / activations).toBeLessThan(1.4);
  expect(needs.total).toBe(needs.weights + needs.kvCache + needs.activations);
}

const gptq = (bits: 8 | 4 | 3 | 2): [string, QuantizeConfig] => [
  `GPTQ ${bits} bits`,
  { method: 'gptq', bits, groupSize: 128, descAct: false },
];
const rptq = (config: 'W4A16' | 'W4A8' | 'W4A4' | 'W4A4KV' | 'W3A3KV' | 'W16A16-KV3') =>
  [`RPTQ ${config}`, { method: 'rptq', config }] as [string, QuantizeConfig];
const quantized: [string, QuantizeConfig][] = [
  gptq(8),
  gptq(4),
  gptq(3),
  gptq(2),
  rptq('W4A16'),
  rptq('W4A8'),
  rptq('W4A4'),
  rptq('W4A4KV'),
  rptq('W3A3KV'),
  rptq('W16A16-KV3'),
];

test.each(quantized)('%s takes what was planned', async (name, config) => {
  const out = join(root, name.replaceAll(' ', '-'));
  await quantize(original, config, { out, dataset: windows, device: 'cpu' });
  await expectAllocated(name, out);
});

test('what needs no calibration takes what was planned', async () => {
  await expectAllocated('16-bit', original);
  await expectAllocated('LLM.int8()', original, { quantization: { method: 'llm.int8' } });
});

test.each([
  [4, 'RPTQ W16A16-KV4'],
  [3, 'RPTQ W16A16-KV3'],
] as const)('a fixed cache of %i bits takes what was planned', async (bits, name) => {
  await using model = await AutoModelForCausalLM.fromPretrained(original, { device: 'cpu' });
  const kvGrids = await calibrateKvCache(model.transformer, windows, { bits });
  await expectAllocated(name, original, { kvGrids });
});

test('a dynamic cache of 4 bits takes what was planned', async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(original, {
    device: 'cpu',
    maxBatch: SIZES.batch,
    maxContext: SIZES.context,
    kvBits: 4,
  });
  const { kvCache } = memoryNeeds(model.transformer, {
    ...SIZES,
    cache: { bits: 4, fixed: false },
  });
  await model.engine.generateAll([Uint16Array.of(1, 2)], { maxNewTokens: 1 });
  expect(model.engine.usage.cacheBytes).toBe(kvCache);
});

describe("the paper's memory table", () => {
  // Computed from arXiv 2304.01089's formula: weights of all parameters, and the cache alone, in GB.
  const FORMULA: [string, number, number, Record<string, number>][] = [
    ['opt-13b', 64, 2048, { '16-bit': 133.1, 'RPTQ W4A4KV': 33.3, 'RPTQ W3A3KV': 25 }],
    ['opt-30b', 8, 8192, { '16-bit': 150.1, 'RPTQ W4A4KV': 37.5, 'RPTQ W3A3KV': 28.2 }],
    ['opt-66b', 64, 8192, { '16-bit': 1368.4, 'RPTQ W4A4KV': 342.1, 'RPTQ W3A3KV': 256.6 }],
    ['opt-175b', 1, 2048, { '16-bit': 358.9, 'RPTQ W4A4KV': 89.7, 'RPTQ W3A3KV': 67.3 }],
  ];

  test.each(FORMULA)('%s, %i sequences of %i tokens', (name, batch, context, expected) => {
    using device = Device.open('cpu');
    const options = { batch: [batch], context: [context], halves: true };
    const plans = planMemory(device, presetConfig(name), new RandomSource('f16'), options);
    for (const [method, formula] of Object.entries(expected)) {
      const total = plans.find((plan) => plan.name === method)?.needs.total ?? 0;
      // Embeddings in 16 bits, scales, feedback, activations: never less, and not much more.
      expect(total / 1e9).toBeGreaterThan(formula * 0.999);
      expect(total / 1e9).toBeLessThan(formula * 1.12 + 1.5);
    }
  });
});
