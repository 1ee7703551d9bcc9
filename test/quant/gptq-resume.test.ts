import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GptqOptions, type QuantizeReport, quantize } from '../../lib';
import { Folders } from '../support/checkpoints';
import { runScript, scriptOutput } from '../support/child';
import { heldoutWindows, sampleFolder } from '../support/golden';

const folders = new Folders();
afterAll(() => folders.dispose());

const script = join(__dirname, 'scripts', 'quantize.ts');
const model = sampleFolder('sample-llama');
const windows = heldoutWindows(3).map((ids) => ids.slice(0, 64));
const config: GptqOptions = { bits: 4, groupSize: 64, sym: false, descAct: true, lmHead: true };
const WORK = '.fewbit-quantize';

const args = (out: string) => [model, out, JSON.stringify(config), JSON.stringify(windows)];
const finishedIn = (out: string) => readdirSync(join(out, WORK)).filter((name) => /^\w/.test(name));

/** Every file of a result but for its log, which holds times. */
function filesOf(folder: string): Map<string, string> {
  const names = readdirSync(folder).filter((name) => name !== 'quantize_log.json');
  return new Map(names.map((name) => [name, readFileSync(join(folder, name), 'latin1')]));
}

function expectSameFiles(a: string, b: string): void {
  const [left, right] = [filesOf(a), filesOf(b)];
  expect([...left.keys()]).toEqual([...right.keys()]);
  for (const [name, content] of left) expect(content === right.get(name)).toBe(true);
}

test('a killed process loses at most the layer it was at, and the result is the same', async () => {
  const [whole, broken] = [folders.path(), folders.path()];
  const uninterrupted = await scriptOutput<QuantizeReport>(script, args(whole));
  const few = expect.stringMatching(/^192 tokens are fewer than the \d+ inputs of the widest/);
  expect(uninterrupted.notices).toEqual([few]);
  const crash = async (last: string) => {
    const { signal, stdout } = await runScript(script, args(broken), { env: { LAST: last } });
    expect([signal, stdout]).toEqual(['SIGKILL', '']);
    return finishedIn(broken).sort();
  };
  const layers = (count: number) =>
    Array.from({ length: count }, (_, i) => `layer-${i}.safetensors`);
  expect(await crash('model.layers.1.self_attn.o_proj')).toEqual([...layers(1), 'state.json']);
  expect(existsSync(join(broken, 'config.json'))).toBe(false);
  // A file that was being written.
  writeFileSync(join(broken, WORK, 'layer-1.safetensors.123.tmp'), 'half');
  expect(await crash('model.layers.3.mlp.down_proj')).toEqual(
    [...layers(3), 'layer-1.safetensors.123.tmp', 'state.json'].sort(),
  );
  const all = ['head.safetensors', ...layers(4), 'layer-1.safetensors.123.tmp', 'state.json'];
  expect(await crash('save')).toEqual([...all, 'result'].sort());
  expect(readdirSync(broken)).toEqual([WORK]);
  const resumed = await scriptOutput<QuantizeReport>(script, args(broken));
  const goingOn = expect.stringMatching(/going on after 29 of 29 layers/);
  expect(resumed.notices).toEqual([few, goingOn]);
  expectSameFiles(whole, broken);
  const untimed = ({ layers }: QuantizeReport) => layers.map((layer) => ({ ...layer, seconds: 0 }));
  expect(untimed(resumed)).toEqual(untimed(uninterrupted));
});

describe('a folder in use', () => {
  const run = (out: string, options: GptqOptions, more: object = {}) =>
    quantize(model, { method: 'gptq', ...options }, { out, device: 'cpu', ...more });
  const rtn = { roundToNearest: true } as const;

  test('an unfinished run is only gone on with under the same settings', async () => {
    const out = folders.path();
    const controller = new AbortController();
    const dataset = { dataset: windows };
    const interrupted = run(
      out,
      { bits: 4 },
      {
        ...dataset,
        signal: controller.signal,
        onProgress: ({ name }: { name?: string }) => {
          if (name === 'model.layers.2.self_attn.q_proj') controller.abort(new Error('enough'));
        },
      },
    );
    await expect(interrupted).rejects.toThrow('enough');
    expect(finishedIn(out)).toHaveLength(3);
    await expect(run(out, { bits: 3 }, dataset)).rejects.toThrow(
      /holds an unfinished quantization with bits 4 instead of 3: .*\(--restart\)/,
    );
    await expect(run(out, rtn)).rejects.toThrow(
      /roundToNearest false instead of true, other calibration data/,
    );
    await expect(run(out, { bits: 4 }, { dataset: windows.slice(1) })).rejects.toThrow(
      /quantization with other calibration data:/,
    );
    const other = quantize(
      sampleFolder('sample-opt'),
      { method: 'gptq', bits: 4 },
      { out, ...dataset },
    );
    await expect(other).rejects.toThrow(/with another model/);
    const left: number[] = [];
    const { layers, notices } = await run(
      out,
      { bits: 4 },
      {
        ...dataset,
        onProgress: ({ eta }: { eta?: number }) => eta !== undefined && left.push(eta),
      },
    );
    expect(layers).toHaveLength(28);
    expect(left).toHaveLength(14);
    expect(Math.max(...left)).toBeLessThan(60);
    expect(notices.at(-1)).toBe('going on after 14 of 28 layers that are finished');
    expect(existsSync(join(out, WORK))).toBe(false);
  });

  test('a finished result is kept, unless it is to be replaced', async () => {
    const out = folders.path();
    const first = await run(out, rtn);
    const again = await run(out, rtn);
    expect(again.layers).toEqual(first.layers);
    expect(again.notices).toEqual([expect.stringMatching(/nothing is left to do/)]);
    await expect(run(out, { ...rtn, bits: 3 })).rejects.toThrow(
      /holds the result of a quantization with bits 4 instead of 3/,
    );
    const replaced = await run(out, { ...rtn, bits: 3 }, { restart: true });
    expect(replaced.layers[0]?.bits).toBe(3);
  });

  test('a folder that cannot be made', async () => {
    await expect(run(join(__filename, 'x'), rtn)).rejects.toThrow(/cannot be written/);
  });
});
