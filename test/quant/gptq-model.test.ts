import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, GptqConfig, type GptqOptions, quantize } from '../../lib';
import { LinearGptq } from '../../lib/quant/gptq';
import { Folders, sourceOf, writeFolder, writeTinyLlama } from '../support/checkpoints';
import { dequantized } from '../support/dequantize';
import {
  heldoutWindows,
  type RawTensor,
  readTensors,
  relativeError,
  sampleFolder,
} from '../support/golden';
import { SMALL_VOCAB, writeSmallLlama } from '../support/small-llama';

const folders = new Folders();
const small = folders.path();
beforeAll(() => writeSmallLlama(small, { hidden: 128, headDim: 64, inner: 384 }));
afterAll(() => folders.dispose());

const llama = sampleFolder('sample-llama');
/** A few short windows: enough to calibrate something. */
const windows = heldoutWindows(4).map((ids) => ids.slice(0, 64));
/** The same for a small vocabulary. */
const smallWindows = windows.map((ids) => ids.map((id) => id % SMALL_VOCAB));
const PROMPT = heldoutWindows(5)[4]?.slice(0, 48) as number[];

/** Writes a quantized copy of a model. */
async function quantized(options: GptqOptions, { origin = llama, dataset = windows } = {}) {
  const out = folders.path();
  const names: string[] = [];
  const report = await quantize(
    origin,
    { method: 'gptq', ...options },
    {
      out,
      device: 'cpu',
      ...(options.roundToNearest ? {} : { dataset }),
      onProgress: (progress) => {
        if (progress.phase !== 'layer') return;
        names.push(progress.name);
        expect(progress.done).toBe(names.length);
        expect(progress.total).toBeGreaterThanOrEqual(progress.done);
        expect(progress.eta >= 0).toBe(true);
      },
    },
  );
  expect(report.layers.map(({ name }) => name)).toEqual(names);
  return { ...report, out, names, tensors: readTensors(join(out, 'model.safetensors')) };
}

async function loaded(folder: string, prompt = PROMPT) {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  const kinds = model.transformer.modules.filter((module) => module instanceof LinearGptq).length;
  return { logits: (await model.forward([prompt])).logits, kinds };
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
  ])('%s: AutoGPTQ tensors, which load', async (_, options, format) => {
    const from = { origin: small, dataset: smallWindows };
    const { out, names, tensors, layers } = await quantized(options, from);
    expect(names.length).toBe(14);
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
    const config = readJson(join(out, 'config.json')).quantization_config;
    expect(readJson(join(out, 'quantize_config.json'))).toEqual(config);
    expect(config).toMatchObject({
      quant_method: 'gptq',
      bits: options.bits,
      checkpoint_format: format,
    });
    expect(readdirSync(out).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'quantize_config.json',
      'quantize_log.json',
    ]);
    const original = readTensors(join(small, 'model.safetensors'));
    for (const { name, bits, error, damp, seconds } of layers) {
      expect([bits, damp]).toEqual([options.bits, expect.closeTo(0.01)]);
      expect(error).toBeGreaterThan(0);
      expect(seconds).toBeGreaterThan(0);
      const { shape } = original.get(`${name}.weight`) as RawTensor;
      const [n, k] = shape as [number, number];
      const g = options.groupSize === -1 ? 1 : k / (options.groupSize ?? 128);
      const expectTensor = (suffix: string, dtype: string, shape: number[]) =>
        expect(tensors.get(`${name}.${suffix}`)).toMatchObject({ dtype, shape });
      expectTensor('qweight', 'I32', [(k * bits) / 32, n]);
      expectTensor('qzeros', 'I32', [g, (n * bits) / 32]);
      expectTensor('scales', 'F16', [g, n]);
      expectTensor('g_idx', 'I32', [k]);
      expect(tensors.has(`${name}.weight`)).toBe(false);
      const groupOf = new Int32Array(tensors.get(`${name}.g_idx`)?.bytes.buffer as ArrayBuffer);
      const inOrder = groupOf.every((group, i) => group === Math.floor(i / (k / g)));
      expect(inOrder).toBe(!options.descAct || options.staticGroups === true);
    }
    // All else is there as it was.
    for (const [name, { dtype, shape, bytes }] of original) {
      if (names.includes(name.replace(/\.weight$/, ''))) continue;
      const kept = tensors.get(name) as RawTensor;
      expect(kept).toMatchObject({ dtype, shape });
      expect(Buffer.compare(kept.bytes, bytes)).toBe(0);
    }
    // A model of the weights that the tensors stand for computes the same.
    const weights = new Map(original);
    // GPTQ moves weights further than rounding does, since outputs are what it keeps.
    const most = { 2: 1.2, 3: 0.6, 4: 0.3, 8: 0.03 }[options.bits as 2 | 3 | 4 | 8];
    for (const name of names) {
      const { shape, bytes } = original.get(`${name}.weight`) as RawTensor;
      const weight = dequantized(tensors, name, options.bits as number, format === 'gptq');
      expect(relativeError(weight, new Float32Array(bytes.buffer))).toBeLessThan(most);
      const data = new Uint8Array(Float32Array.from(weight).buffer);
      weights.set(`${name}.weight`, { dtype: 'F32', shape, bytes: data });
    }
    const plain = folders.path();
    const sources = [...weights].map(([name, tensor]) => sourceOf(name, tensor));
    await writeFolder(plain, readJson(join(small, 'config.json')), sources);
    const prompt = smallWindows[0]?.slice(0, 24) as number[];
    const { logits, kinds } = await loaded(out, prompt);
    expect(kinds).toBe(8);
    expect(relativeError(logits, (await loaded(plain, prompt)).logits)).toBeLessThan(1e-4);
  });
});

test('GPTQ keeps outputs nearer to those of the original than rounding to nearest', async () => {
  const original = (await loaded(llama)).logits;
  // Fewer ids than inputs would leave the Hessian without full rank.
  const dataset = heldoutWindows(14)
    .slice(6)
    .map((ids) => ids.slice(0, 192));
  for (const bits of [3, 4] as const) {
    const error = async (roundToNearest: boolean) => {
      const { out } = await quantized({ bits, groupSize: 64, roundToNearest }, { dataset });
      return relativeError((await loaded(out)).logits, original);
    };
    expect(await error(false)).toBeLessThan(await error(true));
  }
});

test('other widths for some layers, and none for others', async () => {
  const { out, layers, tensors } = await quantized({
    bits: 4,
    roundToNearest: true,
    dynamic: { '-:.*\\.0\\..*down_proj': {}, '.*v_proj': { bits: 8, group_size: 32, sym: false } },
  });
  expect(layers.length).toBe(27);
  expect(layers.find(({ name }) => name === 'model.layers.2.self_attn.v_proj')).toMatchObject({
    bits: 8,
    groupSize: 32,
    damp: -1,
  });
  expect(tensors.get('model.layers.0.mlp.down_proj.weight')?.dtype).toBe('F16');
  const original = (await loaded(llama)).logits;
  expect(relativeError((await loaded(out)).logits, original)).toBeLessThan(0.2);
});

test('whole layers of a model left out', async () => {
  const options = { bits: 4, groupSize: 32, dynamic: { '-:.*layers\\.0\\.': {} } } as const;
  for (const trueSequential of [true, false]) {
    const from = { origin: small, dataset: smallWindows };
    const { layers, out } = await quantized({ ...options, trueSequential }, from);
    expect(layers).toHaveLength(7);
    expect((await loaded(out, [1, 2, 3])).kinds).toBe(4);
  }
});

test('without true-sequential, the layers of a block are calibrated together', async () => {
  const options = { bits: 3, groupSize: 64 } as const;
  const from = { origin: small, dataset: smallWindows };
  const [together, apart] = [
    await quantized({ ...options, trueSequential: false }, from),
    await quantized(options, from),
  ];
  expect(together.names).toEqual(apart.names);
  const codes = ({ tensors }: typeof apart, name: string) =>
    tensors.get(`model.layers.0.${name}.qweight`)?.bytes;
  expect(codes(together, 'self_attn.q_proj')).toEqual(codes(apart, 'self_attn.q_proj'));
  expect(codes(together, 'mlp.down_proj')).not.toEqual(codes(apart, 'mlp.down_proj'));
});

describe('the head', () => {
  test.each(['sample-llama', 'sample-opt'])('of %s, which is tied', async (name) => {
    const origin = sampleFolder(name);
    const { out, layers, tensors } = await quantized(
      { bits: 8, lmHead: true, groupSize: 64 },
      { origin },
    );
    expect(layers.at(-1)?.name).toBe('lm_head');
    expect(tensors.get('lm_head.qweight')?.dtype).toBe('I32');
    expect(readJson(join(out, 'config.json'))).toMatchObject({
      tie_word_embeddings: false,
      quantization_config: { lm_head: true },
    });
    const original = (await loaded(origin)).logits;
    expect(relativeError((await loaded(out)).logits, original)).toBeLessThan(0.02);
  });
});

describe('layers whose extents are no multiples of 32', () => {
  test('stay as they are, and are named to other programs', async () => {
    const origin = folders.path();
    await writeSmallLlama(origin, { headDim: 24 });
    const { out, names, notices } = await quantized({ bits: 4, roundToNearest: true }, { origin });
    expect(names).toContain('model.layers.1.mlp.down_proj');
    expect(names).not.toContain('model.layers.1.self_attn.k_proj');
    expect(notices.join()).toMatch(/layers\.1\.self_attn\.k_proj stays in 16 bits/);
    const { quantization_config: config } = readJson(join(out, 'config.json'));
    const { dynamic } = config as { dynamic: object };
    expect(Object.keys(dynamic)).toContain('-:^model\\.layers\\.0\\.self_attn\\.k_proj$');
    await using model = await AutoModelForCausalLM.fromPretrained(out, { device: 'cpu' });
    expect((await model.forward([[1, 2, 3]])).shape).toEqual([1, 3, 71]);
  });

  test('a model of nothing else is refused', async () => {
    const origin = folders.path();
    await writeTinyLlama(origin);
    await expect(quantized({ roundToNearest: true }, { origin })).rejects.toThrow(
      /no layer is left to quantize.*cannot be packed/,
    );
  });
});

describe('refused', () => {
  test.each<[object, RegExp]>([
    [{ bits: 5 }, /bits/],
    [{ groupSize: 0 }, /groupSize/],
    [{ damp: -1 }, /damp/],
    [{ actGroupAware: true, descAct: true }, /actGroupAware/],
    [{ bit: 4 }, /bit/],
    [{ dynamic: { '(': {} } }, /no regular expression/],
    [{ dynamic: { a: { bits: 5 } } }, /bits/],
  ])('%j', (options, message) => {
    expect(() => new GptqConfig(options)).toThrow(message);
  });

  const run = (options: object, config: object = {}, origin = llama) =>
    quantize(origin, { method: 'gptq', ...config }, {
      out: folders.path(),
      device: 'cpu',
      dataset: windows,
      ...options,
    } as never);

  test.each<[string, object, RegExp]>([
    ['nothing to calibrate with', { dataset: undefined }, /needs a dataset/],
    ['no windows', { dataset: [] }, /hold no windows/],
    ['ids that the model has not', { dataset: [[1, 4096]] }, /4096.*no token id.*0 to 4095/],
    ['windows longer than the context', { dataset: [new Array(5000).fill(1)] }, /positions/],
    ['an unknown text', { dataset: 'c5' }, /neither a file nor one of wikitext2, ptb, c4/],
    ['too long a window', { dataset: __filename, seqlen: 1e5 }, /100000 ids.*positions/],
    ['no samples', { dataset: __filename, samples: 0 }, /samples must be a whole number/],
    ['no folder', { out: '' }, /out is missing/],
    ['the folder of the model', { out: llama }, /folder of the model itself/],
    ['an abort', { signal: AbortSignal.abort(new Error('enough')) }, /enough/],
  ])('%s', async (_, options, message) => {
    await expect(run(options)).rejects.toThrow(message);
  });

  test('a quantized model, and options of other methods', async () => {
    const { out } = await quantized({ roundToNearest: true });
    await expect(run({}, {}, out)).rejects.toThrow(/quantized already, by gptq/);
    await expect(run({}, { method: 'llm.int8' })).rejects.toThrow(/dataset is for gptq/);
    const options = { device: 'cpu', quantization: { method: 'gptq' } } as never;
    await expect(AutoModelForCausalLM.fromPretrained(llama, options)).rejects.toThrow(
      /write a quantized copy first/,
    );
  });
});

test('unusable inputs: rounds to nearest, and says so', async () => {
  const origin = folders.path();
  // Hidden states overflow, so that Hessians are not finite.
  await writeSmallLlama(origin, { gain: 1e30 });
  const { layers, notices, out } = await quantized(
    { bits: 4 },
    { origin, dataset: [[1, 2, 3, 4]] },
  );
  expect(layers.some(({ damp }) => damp === -1)).toBe(true);
  expect(notices.join()).toMatch(/rounded to nearest: its calibration inputs are unusable/);
  expect(existsSync(join(out, 'config.json'))).toBe(true);
});
