import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, openCheckpoint } from '../../lib';
import { quantizeGptq } from '../../lib/pretrained/quantize-gptq';
import { saveGptq } from '../../lib/pretrained/save-gptq';
import { LinearGptq } from '../../lib/quant/gptq';
import { GptqConfig, type GptqOptions } from '../../lib/quant/gptq/config';
import { Folders, writeTinyLlama } from '../support/checkpoints';
import { heldoutWindows, readTensors, relativeError, sampleFolder } from '../support/golden';

const folders = new Folders();
afterAll(() => folders.dispose());

const llama = sampleFolder('sample-llama');
/** A few short windows: enough to calibrate something. */
const windows = heldoutWindows(4).map((ids) => ids.slice(0, 64));
const PROMPT = heldoutWindows(5)[4]?.slice(0, 48) as number[];

/** Quantizes a model and saves it. */
async function quantized(
  options: GptqOptions,
  { origin = llama, calibration = windows, prompt = PROMPT } = {},
) {
  const checkpoint = await openCheckpoint(origin);
  await using model = await AutoModelForCausalLM.fromPretrained(origin, { device: 'cpu' });
  const config = new GptqConfig(options);
  const names: string[] = [];
  const layers = await quantizeGptq(model.transformer, calibration, config, {
    onProgress: ({ name, done, total }) => {
      names.push(name);
      expect(done).toBe(names.length);
      expect(total).toBeGreaterThanOrEqual(done);
    },
  });
  const { logits } = await model.forward([prompt]);
  const folder = folders.path();
  await saveGptq({ transformer: model.transformer, checkpoint }, layers, config, folder);
  return { folder, layers, names, logits };
}

async function reloaded(folder: string) {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  const { modules } = model.transformer;
  const kinds = modules.filter((module) => module instanceof LinearGptq).length;
  return { logits: (await model.forward([PROMPT])).logits, kinds };
}

const readJson = (path: string) =>
  JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

describe('what is written', () => {
  test.each<[string, GptqOptions, string]>([
    ['symmetric, 4 bits', { bits: 4 }, 'gptq'],
    ['asymmetric, 3 bits', { bits: 3, sym: false, groupSize: 64 }, 'gptq_v2'],
    ['act-order, 2 bits', { bits: 2, descAct: true, groupSize: 32 }, 'gptq'],
    [
      'static groups, 8 bits, rows',
      { bits: 8, staticGroups: true, descAct: true, groupSize: -1 },
      'gptq',
    ],
  ])('%s: AutoGPTQ tensors, which load and compute the same', async (_, options, format) => {
    const { folder, layers, names, logits } = await quantized(options);
    expect(layers.size).toBe(28);
    // In the order in which they run: each is calibrated with those before it quantized.
    expect(names.slice(0, 7).map((name) => name.split('.').at(-1))).toEqual([
      'q_proj',
      'k_proj',
      'v_proj',
      'o_proj',
      'gate_proj',
      'up_proj',
      'down_proj',
    ]);
    const config = readJson(join(folder, 'config.json')).quantization_config;
    expect(readJson(join(folder, 'quantize_config.json'))).toEqual(config);
    expect(config).toMatchObject({
      quant_method: 'gptq',
      bits: options.bits,
      checkpoint_format: format,
    });
    expect(existsSync(join(folder, 'tokenizer.json'))).toBe(true);
    const tensors = readTensors(join(folder, 'model.safetensors'));
    for (const name of names) {
      const {
        bits,
        groupOf,
        outFeatures: n,
      } = layers.get(name) as never as {
        bits: number;
        groupOf: Int32Array;
        outFeatures: number;
      };
      const k = groupOf.length;
      const g = options.groupSize === -1 ? 1 : k / (options.groupSize ?? 128);
      expect(tensors.get(`${name}.qweight`)).toMatchObject({
        dtype: 'I32',
        shape: [(k * bits) / 32, n],
      });
      expect(tensors.get(`${name}.qzeros`)).toMatchObject({
        dtype: 'I32',
        shape: [g, (n * bits) / 32],
      });
      expect(tensors.get(`${name}.scales`)).toMatchObject({ dtype: 'F16', shape: [g, n] });
      expect(tensors.get(`${name}.g_idx`)).toMatchObject({ dtype: 'I32', shape: [k] });
      expect(tensors.has(`${name}.weight`)).toBe(false);
      const inOrder = groupOf.every((group, i) => group === Math.floor(i / (k / g)));
      expect(inOrder).toBe(!options.descAct || options.staticGroups === true);
    }
    const again = await reloaded(folder);
    expect(again.kinds).toBe(16);
    // The weights were calibrated with in fp16, and scales are stored in fp16.
    expect(relativeError(again.logits, logits)).toBeLessThan(5e-3);
  });
});

test('GPTQ keeps outputs nearer to those of the original than rounding to nearest', async () => {
  const original = (await reloaded(llama)).logits;
  for (const bits of [3, 4] as const) {
    const error = async (roundToNearest: boolean) => {
      const options = { bits, groupSize: 64, roundToNearest };
      // Fewer ids than inputs would leave the Hessian without full rank.
      const calibration = heldoutWindows(14).slice(6);
      const short = calibration.map((ids) => ids.slice(0, 192));
      const { logits } = await quantized(options, { calibration: short });
      return relativeError(logits, original);
    };
    expect(await error(false)).toBeLessThan(await error(true));
  }
});

test('other widths for some layers, and none for others', async () => {
  const { folder, layers } = await quantized({
    bits: 4,
    roundToNearest: true,
    dynamic: { '-:.*\\.0\\..*down_proj': {}, '.*v_proj': { bits: 8, group_size: 32, sym: false } },
  });
  expect(layers.size).toBe(27);
  expect(layers.get('model.layers.2.self_attn.v_proj')).toMatchObject({ bits: 8, groupSize: 32 });
  const tensors = readTensors(join(folder, 'model.safetensors'));
  expect(tensors.get('model.layers.0.mlp.down_proj.weight')?.dtype).toBe('F16');
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  const { logits } = await model.forward([PROMPT]);
  expect(relativeError(logits, (await reloaded(llama)).logits)).toBeLessThan(0.2);
});

test('without true-sequential, the layers of a block are calibrated together', async () => {
  const options = { bits: 3, groupSize: 64 } as const;
  const [together, apart] = [
    await quantized({ ...options, trueSequential: false }),
    await quantized(options),
  ];
  expect([...together.layers.keys()]).toEqual([...apart.layers.keys()]);
  const codes = ({ layers }: typeof apart, name: string) =>
    layers.get(`model.layers.0.${name}`)?.codes;
  expect(codes(together, 'self_attn.q_proj')).toEqual(codes(apart, 'self_attn.q_proj'));
  expect(codes(together, 'mlp.down_proj')).not.toEqual(codes(apart, 'mlp.down_proj'));
});

test('layers whose extents are no multiples of 32 stay as they are', async () => {
  const tiny = folders.path();
  await writeTinyLlama(tiny);
  const { layers } = await quantized(
    { bits: 4, roundToNearest: true },
    { origin: tiny, prompt: [1, 2, 3] },
  );
  expect(layers.size).toBe(0);
});

describe('refused', () => {
  test.each<[object, RegExp]>([
    [{ bits: 5 }, /bits/],
    [{ groupSize: 0 }, /groupSize/],
    [{ damp: -1 }, /damp/],
    [{ actGroupAware: true, descAct: true }, /actGroupAware/],
    [{ bit: 4 }, /bit/],
  ])('%j', (options, message) => {
    expect(() => new GptqConfig(options)).toThrow(message);
  });

  test('nothing to calibrate with, a quantized model, and an abort', async () => {
    const config = new GptqConfig();
    await using model = await AutoModelForCausalLM.fromPretrained(llama, { device: 'cpu' });
    await expect(quantizeGptq(model.transformer, [], config)).rejects.toThrow(/windows/);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(quantizeGptq(model.transformer, windows, config, { signal })).rejects.toThrow(
      'enough',
    );
    const { folder } = await quantized({ roundToNearest: true });
    await using again = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    await expect(quantizeGptq(again.transformer, windows, config)).rejects.toThrow(/already/);
  });
});
