import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  type QuantizeProgress,
  type QuantizeReport,
  quantize,
  type RptqConfigName,
} from '../../../lib';
import { pageBytes } from '../../../lib/engine';
import { Folders } from '../../support/checkpoints';
import { type RawTensor, readTensors } from '../../support/golden';
import { type Architecture, smallWindows, writeSmallModel } from './support/small-models';

const folders = new Folders();
afterAll(() => folders.dispose());

const windows = smallWindows(4, 40);
const [prompt] = smallWindows(1, 30) as [number[]];

async function original(architecture: Architecture): Promise<string> {
  const folder = folders.path();
  await writeSmallModel(folder, architecture);
  return folder;
}

function run(
  folder: string,
  out: string,
  config: RptqConfigName,
  options: { signal?: AbortSignal; onProgress?: (progress: QuantizeProgress) => void } = {},
): Promise<QuantizeReport> {
  return quantize(
    folder,
    { method: 'rptq', config },
    { out, device: 'cpu', dataset: windows, ...options },
  );
}

function tensorsOf(folder: string): Map<string, RawTensor> {
  return readTensors(join(folder, 'model.safetensors'));
}

const ALL: RptqConfigName[] = ['W4A16', 'W4A8', 'W4A4', 'W4A4KV', 'W3A3KV', 'W16A16-KV3'];

test.each(ALL.flatMap((config) => [['llama', config] as const, ['opt', config] as const]))(
  '%s in %s: what is loaded and saved again is the same, bit by bit',
  async (architecture, config) => {
    const [folder, out, copy] = [await original(architecture), folders.path(), folders.path()];
    await run(folder, out, config);
    const first = await AutoModelForCausalLM.fromPretrained(out, { device: 'cpu' });
    const { logits } = await first.forward([prompt]);
    await first.savePretrained(copy);
    await first.dispose();
    const [before, after] = [tensorsOf(out), tensorsOf(copy)];
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    const isSame = (name: string): boolean => {
      const [a, b] = [before.get(name), after.get(name)] as [RawTensor, RawTensor];
      return (
        a.dtype === b.dtype &&
        `${a.shape}` === `${b.shape}` &&
        Buffer.compare(a.bytes, b.bytes) === 0
      );
    };
    expect([...before.keys()].filter((name) => !isSame(name))).toEqual([]);
    const configOf = (of: string) => JSON.parse(readFileSync(join(of, 'config.json'), 'utf8'));
    expect(configOf(copy)).toEqual(configOf(out));
    await using second = await AutoModelForCausalLM.fromPretrained(copy, { device: 'cpu' });
    expect((await second.forward([prompt])).logits).toEqual(logits);
  },
);

test('an interrupted run goes on where it was, to the same files', async () => {
  const folder = await original('llama');
  const [whole, broken] = [folders.path(), folders.path()];
  await run(folder, whole, 'W4A8');
  const stop = new AbortController();
  const interrupted = run(folder, broken, 'W4A8', {
    signal: stop.signal,
    onProgress(progress) {
      if (progress.phase === 'calibrate' && progress.at === 'layer 1') stop.abort();
    },
  });
  await expect(interrupted).rejects.toThrow(/aborted/);
  const { notices } = await run(folder, broken, 'W4A8');
  expect(notices).toContainEqual(expect.stringMatching(/going on after 7 of 14 layers/));
  for (const name of ['model.safetensors', 'config.json']) {
    expect(readFileSync(join(broken, name))).toEqual(readFileSync(join(whole, name)));
  }
  const again = await run(folder, broken, 'W4A8');
  expect(again.notices).toContainEqual(expect.stringMatching(/nothing is left to do/));
  await expect(run(folder, broken, 'W4A4')).rejects.toThrow(/config "W4A8" instead of "W4A4"/);
});

test.each([
  ['W4A8', 8],
  ['W4A4KV', 4],
  ['W3A3KV', 3],
] as const)(
  '%s: the cache takes %i bits a value, and other widths can be asked for',
  async (config, bits) => {
    const [folder, out] = [await original('llama'), folders.path()];
    await run(folder, out, config);
    const shapeFor = async (kvBits?: 16 | 8 | 4 | 3) => {
      await using model = await AutoModelForCausalLM.fromPretrained(out, {
        device: 'cpu',
        ...(kvBits ? { kvBits } : {}),
      });
      return model.engine.sizes.cacheShape;
    };
    const shape = await shapeFor();
    const values = 2 * shape.layers * shape.kvHeads * shape.headDim;
    expect(pageBytes(shape, 64)).toBe((64 * values * bits) / 8);
    expect(shape.grids).toHaveLength(2);
    expect(await shapeFor(16)).not.toHaveProperty('bits');
    const other = await shapeFor(bits === 8 ? 4 : 8);
    expect([other.bits, other.grids]).toEqual([bits === 8 ? 4 : 8, undefined]);
  },
);

test('bytes are known before anything is loaded', async () => {
  for (const config of ALL) {
    const [folder, out] = [await original('opt'), folders.path()];
    await run(folder, out, config);
    await using model = await AutoModelForCausalLM.fromPretrained(out, { device: 'cpu' });
    const { transformer, device } = model;
    const counters = 16;
    expect([config, device.memory().used - counters]).toEqual([config, transformer.bytes]);
  }
});
