import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, OptionsError } from '../../lib';
import { pageBytes } from '../../lib/engine';
import type { KvGrids } from '../../lib/engine/engine-options';
import { perplexity } from '../../lib/eval/perplexity';
import { calibrateKvCache } from '../../lib/pretrained/kv-calibration';
import { sampleFolder } from '../support/golden';
import { heldoutIds } from '../support/samples';

const FOLDER = sampleFolder('sample-llama');
const ids = heldoutIds();
const load = (kvGrids?: KvGrids, kvBits?: 16 | 4) =>
  AutoModelForCausalLM.fromPretrained(FOLDER, {
    device: 'cpu',
    maxBatch: 2,
    maxContext: 256,
    ...(kvGrids ? { kvGrids } : {}),
    ...(kvBits ? { kvBits } : {}),
  });

async function calibrationWindows(): Promise<number[][]> {
  const tokenizer = await AutoTokenizer.fromPretrained(FOLDER);
  const text = readFileSync(join(sampleFolder('text'), 'calibration.txt'), 'utf8');
  const all = [...tokenizer.encode(text.slice(0, 20000))];
  return Array.from({ length: 8 }, (_, i) => all.slice(i * 256, (i + 1) * 256));
}

async function calibrated(options: { bits: 4 | 3; clusters?: number }): Promise<KvGrids> {
  await using model = await load();
  return await calibrateKvCache(model.transformer, await calibrationWindows(), options);
}

async function measured(grids?: KvGrids): Promise<number> {
  await using model = await load(grids);
  return (await perplexity(model, ids, { window: 256, limit: 6 })).perplexity;
}

test('fixed scales by cluster lose little, and clusters are worth it', async () => {
  const plain = await measured();
  const loss = async (grids: KvGrids) => (await measured(grids)) / plain - 1;
  const four = await loss(await calibrated({ bits: 4 }));
  expect(Math.abs(four)).toBeGreaterThan(1e-5);
  expect(four).toBeLessThan(0.05);
  const three = await loss(await calibrated({ bits: 3 }));
  const unclustered = await loss(await calibrated({ bits: 3, clusters: 1 }));
  expect(three).toBeLessThan(0.15);
  expect(three).toBeLessThan(unclustered * 0.75);
});

test('the same windows and seed give the same grids; nothing is stored by token', async () => {
  const grids = await calibrated({ bits: 4 });
  expect(await calibrated({ bits: 4 })).toEqual(grids);
  await using model = await load(grids);
  const { cacheShape, pageSize } = model.engine.sizes;
  const { layers, kvHeads, headDim } = cacheShape;
  expect(pageBytes(cacheShape, pageSize)).toBe(2 * layers * kvHeads * headDim * pageSize * 0.5);
});

test('queries are rounded onto a grid of their own', async () => {
  const grids = await calibrated({ bits: 4 });
  await using model = await load();
  const { numAttentionHeads } = model.config;
  const channels = numAttentionHeads * model.transformer.cacheShape.headDim;
  const [step, zero] = [0.1, 128];
  const query = new Float32Array(2 * channels).fill(step).fill(zero, channels);
  const layers = grids.layers.map((layer) => ({ ...layer, query }));
  const plain = await measured(grids);
  const loss = Math.abs((await measured({ ...grids, layers, queryBits: 8 })) / plain - 1);
  expect(loss).toBeGreaterThan(1e-7);
  expect(loss).toBeLessThan(0.01);
  await using wrong = await load({ ...grids, layers, queryBits: 5 as 4 });
  expect(() => wrong.engine).toThrow('queryBits must be 8 or 4, got 5');
});

test('grids of another width or another model are refused', async () => {
  const grids = await calibrated({ bits: 3 });
  await using contradiction = await load(grids, 4);
  expect(() => contradiction.engine).toThrow(OptionsError);
  expect(() => contradiction.engine).toThrow('kvBits is 4, but kvGrids were made for 3 bits');
  await using other = await load({ ...grids, layers: grids.layers.slice(1) });
  expect(() => other.engine).toThrow('kvGrids are of another model');
});
