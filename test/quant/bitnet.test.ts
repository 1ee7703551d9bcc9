import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, ops, type QuantizationConfig } from '../../lib';
import type { TensorSource } from '../../lib/checkpoint/safetensors-writer';
import type { CausalLanguageModel } from '../../lib/pretrained/model';
import { BitLinear } from '../../lib/quant/bitnet';
import { packTernary } from '../support/bitnet';
import {
  type BitnetFolderOptions,
  gammaOf,
  LINEAR_NAMES,
  masterLayer,
  PACKED,
  packedLayer,
  ternaryOf,
  writeTinyBitnet,
} from '../support/bitnet-checkpoint';
import { Folders, writeTinyLlama } from '../support/checkpoints';
import {
  goldenFolder,
  type RawTensor,
  readTensors,
  relativeError,
  sampleFolder,
} from '../support/golden';
import { fromBfloat16, fromHalf } from '../support/half';
import { encode } from '../support/host-tensor';
import { normals, numbersOf, tensorOf } from '../support/tensors';

const folders = new Folders();
afterAll(() => folders.dispose());

const PROMPT = [5, 60, 33, 2, 70, 11, 8, 9];

const open = (folder: string, quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    ...(quantization ? { quantization } : {}),
  });
const logitsOf = async (model: CausalLanguageModel) => (await model.forward([PROMPT])).logits;
const ternaryLayers = ({ transformer }: CausalLanguageModel) =>
  transformer.modules.filter((module) => module instanceof BitLinear);
const readConfig = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;

async function written(options: BitnetFolderOptions = {}): Promise<string> {
  const folder = folders.path();
  await writeTinyBitnet(folder, options);
  return folder;
}

async function logitsIn(folder: string, quantization?: QuantizationConfig): Promise<Float32Array> {
  await using model = await open(folder, quantization);
  expect(ternaryLayers(model)).toHaveLength(8);
  return await logitsOf(model);
}

/** The values of a stored tensor. */
function floatsOf({ dtype, bytes }: RawTensor): number[] {
  if (dtype === 'F32') return Array.from(new Float32Array(bytes.buffer));
  return Array.from(new Uint16Array(bytes.buffer), dtype === 'BF16' ? fromBfloat16 : fromHalf);
}

/** weight_scale as plain BitLinear stores it. */
const inverse = (name: string, ternary: Int8Array, columns: number): TensorSource[] =>
  packedLayer(name, ternary, columns, 1 / gammaOf(name));

describe('forms of one model', () => {
  let expected: Float32Array;
  beforeAll(async () => {
    expected = await logitsIn(await written());
  });

  test.each([
    ["'bitlinear', where weight_scale is 1 / gamma", { ...PACKED, linear_class: 'bitlinear' }],
    ['no linear_class, which stands for it', { quant_method: 'bitnet' }],
  ])('%s', async (_, quantization) => {
    const folder = await written({ quantization, linear: inverse });
    expect(await logitsIn(folder)).toEqual(expected);
  });

  test('float masters, ternarized on load', async () => {
    const online = { ...PACKED, quantization_mode: 'online' };
    const folder = await written({ quantization: online, linear: masterLayer });
    await using model = await open(folder);
    // The mean of such masters is not gamma itself: what was saved says what it is.
    const out = folders.path();
    await model.savePretrained(out);
    const saved = readTensors(join(out, 'model.safetensors'));
    const packed = readTensors(join(await written(), 'model.safetensors'));
    for (const name of LINEAR_NAMES) {
      const [own, other] = [saved, packed].map((tensors) => tensors.get(`${name}.weight`)?.bytes);
      expect(own).toEqual(other);
      const [gamma] = floatsOf(saved.get(`${name}.weight_scale`) as RawTensor);
      const master = masterLayer(name, ternaryOf(name).ternary, 1)[0]?.data as Float32Array;
      const mean = master.reduce((sum, value) => sum + Math.abs(value), 0) / master.length;
      expect(gamma).toBeCloseTo(mean, 6);
    }
    expect(await logitsIn(out)).toEqual(await logitsOf(model));
  });

  test('each part of a stacked matrix keeps its own scale', async () => {
    await using model = await open(await written());
    for (const layer of ternaryLayers(model)) {
      const { inFeatures, parts } = layer.spec;
      // Rows of an identity matrix bring out the columns of the weight, exactly.
      const identity = new Float32Array(inFeatures ** 2);
      for (let i = 0; i < inFeatures; i++) identity[i * (inFeatures + 1)] = 1;
      const columns = model.device.scope(() => {
        const x = model.device.from('f32', [inFeatures, inFeatures], identity);
        return layer.forward(x).read() as Float32Array;
      });
      const rows = parts.flatMap(({ name }) =>
        Array.from(ternaryOf(name).ternary, (value) => value * gammaOf(name)),
      );
      const outputs = rows.length / inFeatures;
      const expected = rows.map(
        (_, i) => rows[(i % outputs) * inFeatures + Math.floor(i / outputs)] as number,
      );
      expect(relativeError(columns, expected)).toBeLessThan(1e-6);
    }
  });

  test('the names of the 1bitLLM models', async () => {
    const config = {
      architectures: ['BitnetForCausalLM'],
      model_type: 'llama',
      hidden_act: 'relu2',
      rms_norm_eps: 1e-5,
      rope_theta: 500000,
      weight_bits: 1,
      input_bits: 8,
    };
    const form = { config, quantization: null, subNorms: '1bitLLM', linear: masterLayer } as const;
    await using model = await open(await written(form));
    const found = await logitsOf(model);
    const out = folders.path();
    await model.savePretrained(out);
    expect(await logitsIn(out)).toEqual(found);
    const masters = await written({ linear: masterLayer });
    expect(found).toEqual(await logitsIn(masters));
  });

  test('a Llama with ternary layers', async () => {
    const config = { architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu' };
    const folder = await written({
      config,
      subNorms: 'none',
      quantization: { quant_method: 'bitnet' },
      linear: inverse,
    });
    const logits = await logitsIn(folder);
    expect(logits.every(Number.isFinite)).toBe(true);
    expect(relativeError(logits, expected)).toBeGreaterThan(0.1);
  });

  test('a norm that each layer has of its own', async () => {
    const gain = (name: string, columns: number) =>
      normals(columns, LINEAR_NAMES.indexOf(name), 0.5).map(Math.fround);
    const quantization = { ...PACKED, use_rms_norm: true, rms_norm_eps: 1e-3 };
    const source = await written({
      quantization,
      linear: (name, ternary, columns) => [
        ...packedLayer(name, ternary, columns),
        {
          name: `${name}.rms_norm.weight`,
          dtype: 'f32',
          shape: [columns],
          data: Float32Array.from(gain(name, columns)),
        },
      ],
    });
    await using model = await open(source);
    for (const layer of ternaryLayers(model)) {
      const { inFeatures, parts } = layer.spec;
      model.device.scope(() => {
        const x = tensorOf(model.device, 'f32', [3, inFeatures], normals(3 * inFeatures, 1));
        const expected = parts.map(({ name, outFeatures }) => {
          const weight = tensorOf(model.device, 'f32', [inFeatures], gain(name, inFeatures));
          const input = ops.bitnetQuantize(x, { norm: { weight, eps: 1e-3 } });
          const bytes = packTernary(ternaryOf(name).ternary, inFeatures);
          const codes = model.device.from('u8', [outFeatures, bytes.length / outFeatures], bytes);
          const scales = new Float32Array(outFeatures).fill(gammaOf(name));
          const scale = model.device.from('f32', [outFeatures], scales);
          return numbersOf(ops.linearBitnet(input, { codes, scales: scale }));
        });
        const found = numbersOf(layer.forward(x));
        const width = found.length / 3;
        const rows = [0, 1, 2].flatMap((row) =>
          expected.flatMap((part) =>
            part.slice((row * part.length) / 3, ((row + 1) * part.length) / 3),
          ),
        );
        expect([width, found]).toEqual([rows.length / 3, rows]);
      });
    }
    const out = folders.path();
    await model.savePretrained(out);
    expect(readConfig(out).quantization_config).toEqual(quantization);
    expect(await logitsIn(out)).toEqual(await logitsOf(model));
  });

  test('some layers in full precision', async () => {
    const skipped = 'down_proj';
    const folder = await written({
      quantization: { ...PACKED, modules_to_not_convert: [skipped] },
      linear: (name, ternary, columns) =>
        (name.endsWith(skipped) ? masterLayer : packedLayer)(name, ternary, columns),
    });
    await using model = await open(folder);
    expect(ternaryLayers(model)).toHaveLength(6);
    expect((await logitsOf(model)).every(Number.isFinite)).toBe(true);
  });
});

describe('what is saved', () => {
  test('a packed model, byte for byte', async () => {
    const [from, out] = [goldenFolder('bitnet-packed'), folders.path()];
    await using model = await open(from);
    await model.savePretrained(out);
    expect(readConfig(out)).toEqual(readConfig(from));
    const [before, after] = [from, out].map((folder) =>
      readTensors(join(folder, 'model.safetensors')),
    );
    expect(after).toEqual(before);
  });

  test('a scale that bf16 does not hold stays exact', async () => {
    const [source, out] = [folders.path(), folders.path()];
    await writeTinyLlama(source, { config: {} });
    const skipModules = ['gate_proj', 'up_proj', 'k_proj', 'v_proj'];
    const quantization = { method: 'bitnet' as const, skipModules };
    await using model = await open(source, quantization);
    await model.savePretrained(out);
    const scale = readTensors(join(out, 'model.safetensors')).get(
      'model.layers.0.self_attn.q_proj.weight_scale',
    );
    expect([scale?.dtype, scale?.shape]).toEqual(['F32', [1]]);
    expect(readConfig(out).quantization_config).toEqual({
      ...PACKED,
      modules_to_not_convert: ['lm_head', ...skipModules],
    });
    await using again = await open(out);
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
  });

  test('rows that are not four quarters are refused', async () => {
    const source = folders.path();
    await writeTinyLlama(source);
    await using model = await open(source, { method: 'bitnet' });
    await expect(model.savePretrained(folders.path())).rejects.toThrow(
      /gate_proj has 50 outputs, and only multiples of 4.*skipModules/,
    );
  });

  test('biases, which transformers multiplies by gamma', async () => {
    const [from, out] = [sampleFolder('sample-opt'), folders.path()];
    await using model = await open(from, { method: 'bitnet' });
    await model.savePretrained(out);
    const [before, after] = [from, out].map((folder) =>
      readTensors(join(folder, 'model.safetensors')),
    ) as [Map<string, RawTensor>, Map<string, RawTensor>];
    const layer = 'model.decoder.layers.0.fc1';
    const stored = (name: string) => floatsOf(after.get(`${layer}.${name}`) as RawTensor);
    const original = floatsOf(before.get(`${layer}.bias`) as RawTensor);
    const [gamma] = stored('weight_scale') as [number];
    const scaled = stored('bias').map((value) => value * gamma);
    expect(relativeError(scaled, original)).toBeLessThan(1e-6);
    await using again = await open(out);
    expect(relativeError(await logitsOf(again), await logitsOf(model))).toBeLessThan(1e-2);
  });

  test('an int8 head', async () => {
    const out = folders.path();
    const source = await written();
    const head = { method: 'bitnet', lmHead: 'int8' } as const;
    await using model = await open(source, head);
    const { modules, parameters } = model.transformer;
    expect(modules.at(-1)?.method).toBe('llm.int8');
    // One table for both.
    expect(modules[0]?.bytes).toBe(0);
    await using plain = await open(source);
    expect(parameters).toBe(plain.transformer.parameters);
    await model.savePretrained(out);
    expect(readTensors(join(out, 'model.safetensors')).has('lm_head.SCB')).toBe(true);
    await using again = await open(out);
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
    expect(relativeError(await logitsOf(model), await logitsIn(source))).toBeLessThan(0.02);
  });

  test('an int8 head beside an embedding of its own', async () => {
    const shape = [71, 48];
    const data = encode(normals(71 * 48, 50), 'bf16');
    const source = await written({
      config: { tie_word_embeddings: false },
      instead: [{ name: 'lm_head.weight', dtype: 'bf16', shape, data }],
    });
    await using model = await open(source, { method: 'bitnet', lmHead: 'int8' });
    expect(model.transformer.modules[0]?.bytes).toBe(2 * 71 * 48);
    await using plain = await open(source);
    const embedded = ({ device, transformer }: CausalLanguageModel) => {
      const ids = device.from('i32', [3], Int32Array.of(5, 70, 0));
      return numbersOf(transformer.embed({ ids, positions: ids }));
    };
    expect(embedded(model)).toEqual(embedded(plain));
    expect(relativeError(await logitsOf(model), await logitsOf(plain))).toBeLessThan(0.02);
  });
});

test('post-training ternarization reports what it leaves of a model', async () => {
  await using model = await open(sampleFolder('sample-llama'), { method: 'bitnet' });
  const layers = ternaryLayers(model);
  expect(layers).toHaveLength(16);
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
  const parameters = layers.reduce((sum, layer) => sum + layer.parameters, 0);
  // 2 bits each, and a scale per row.
  expect((8 * bytes) / parameters).toBeLessThan(2.2);
});
