import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, OptionsError } from '../../lib';
import { pageBytes } from '../../lib/engine';
import type { KvGrids } from '../../lib/engine/engine-options';
import { perplexity } from '../../lib/eval/perplexity';
import { calibrateKvCache, type KvCalibrationOptions } from '../../lib/pretrained/kv-calibration';
import { sampleFolder } from '../support/golden';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';

const FOLDER = sampleFolder('sample-llama');
const WINDOW = 512;
const ids = heldoutIds();
const load = (kvGrids?: KvGrids, kvBits?: 16 | 4, folder = FOLDER) =>
  AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    maxBatch: 2,
    maxContext: WINDOW,
    ...(kvGrids ? { kvGrids } : {}),
    ...(kvBits ? { kvBits } : {}),
  });

async function calibrationWindows(): Promise<number[][]> {
  const tokenizer = await AutoTokenizer.fromPretrained(FOLDER);
  const text = readFileSync(join(sampleFolder('text'), 'calibration.txt'), 'utf8');
  const all = [...tokenizer.encode(text.slice(0, 60000))];
  return Array.from({ length: 24 }, (_, i) => all.slice(i * WINDOW, (i + 1) * WINDOW));
}

type Options = Omit<KvCalibrationOptions, 'signal' | 'onProgress'>;

/** What tests share: each calibration and each perplexity takes a second or more. */
const known = new Map<string, Promise<unknown>>();
function once<T>(what: string, compute: () => Promise<T>): Promise<T> {
  const found = known.get(what) ?? compute();
  known.set(what, found);
  return found as Promise<T>;
}

const calibrated = (options: Options, folder = FOLDER): Promise<KvGrids> =>
  once(`${folder} ${JSON.stringify(options)}`, () => calibrate(options, folder));

async function calibrate(options: Options, folder = FOLDER): Promise<KvGrids> {
  await using model = await load(undefined, undefined, folder);
  return await calibrateKvCache(model.transformer, await calibrationWindows(), options);
}

async function measured(grids?: KvGrids, folder = FOLDER): Promise<number> {
  await using model = await load(grids, undefined, folder);
  return (await perplexity(model, ids, { window: WINDOW, limit: 4 })).perplexity;
}

/** By how much perplexity grows. */
async function lossOf(options: Options, folder = FOLDER): Promise<number> {
  const plain = await once(folder, () => measured(undefined, folder));
  return (await measured(await calibrated(options, folder), folder)) / plain - 1;
}

/** Largest loss in perplexity with 4 and with 3 bits, and what the paper's 4 clusters lose at 4 bits. */
const LIMITS = {
  'sample-llama': { four: 0.02, three: 0.075, clusters: 0.035 },
  'sample-opt': { four: 0.02, three: 0.09, clusters: 0.2 },
} as const;

test.each(SAMPLE_NAMES)('a fixed cache of 4 and 3 bits loses little on %s', async (name) => {
  const folder = sampleFolder(name);
  const limits = LIMITS[name];
  const loss = (options: Options) => lossOf(options, folder);
  const four = await loss({ bits: 4 });
  expect(Math.abs(four)).toBeGreaterThan(1e-5);
  expect(four).toBeLessThan(limits.four);
  expect(await loss({ bits: 3 })).toBeLessThan(limits.three);
  const paper = await loss({ bits: 4, clusters: 4, metric: 'ema_minmax', feedback: false });
  expect(paper).toBeGreaterThan(four);
  expect(paper).toBeLessThan(limits.clusters);
});

test('heads that attend by position need keys whose errors make up for each other', async () => {
  const folder = sampleFolder('sample-opt');
  const alone = await lossOf({ bits: 4, feedback: false }, folder);
  expect(await lossOf({ bits: 4 }, folder)).toBeLessThan(alone / 3);
});

test('clusters are worth it', async () => {
  const clustered = await lossOf({ bits: 3, clusters: 4, feedback: false });
  const together = await lossOf({ bits: 3, clusters: 1, feedback: false });
  expect(clustered).toBeLessThan(together * 0.75);
});

test('the same windows and seed give the same grids; nothing is stored by token', async () => {
  const grids = await calibrated({ bits: 4 });
  expect(await calibrate({ bits: 4 })).toEqual(grids);
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
  const [first, ...others] = grids.layers;
  const wrong = { ...first, keyFeedback: new Float32Array(3) } as (typeof grids.layers)[number];
  await using fed = await load({ ...grids, layers: [wrong, ...others] });
  expect(() => fed.engine).toThrow('kvGrids are of another model');
});
