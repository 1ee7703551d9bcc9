import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, type QuantizationConfig } from '../../lib';
import { LinearInt8 } from '../../lib/quant/llm-int8';
import { Folders, sourceOf, writeFolder } from '../support/checkpoints';
import { goldenFolder, type RawTensor, readTensors } from '../support/golden';

const folders = new Folders();
afterAll(() => folders.dispose());

const hf = goldenFolder('llm-int8-hf');
const hfConfig = JSON.parse(readFileSync(join(hf, 'config.json'), 'utf8')) as {
  quantization_config: Record<string, unknown>;
};
const LAYER = 'model.layers.1.mlp.up_proj';

const open = (folder: string, quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    ...(quantization ? { quantization } : {}),
  });

/** A copy of the checkpoint of bitsandbytes with some tensors and settings changed. */
async function variant(
  change: (tensors: Map<string, RawTensor>) => void,
  quantization: Record<string, unknown> = {},
): Promise<string> {
  const folder = folders.path();
  const tensors = readTensors(join(hf, 'model.safetensors'));
  change(tensors);
  const quantization_config = { ...hfConfig.quantization_config, ...quantization };
  const sources = [...tensors].map(([name, tensor]) => sourceOf(name, tensor));
  await writeFolder(folder, { ...hfConfig, quantization_config }, sources);
  return folder;
}

const scalar = (...bytes: number[]): RawTensor => ({
  dtype: 'U8',
  shape: [],
  bytes: Uint8Array.from(bytes),
});

/** Logits of a prompt whose hidden states have outliers at threshold 1. */
async function logits(folder: string, quantization?: QuantizationConfig): Promise<Float32Array> {
  await using model = await open(folder, quantization);
  return (await model.forward([[3, 200, 17, 99, 301]])).logits;
}

describe('a stored checkpoint', () => {
  test('takes threshold and mode, and nothing else', async () => {
    await using model = await open(hf, {
      method: 'llm.int8',
      threshold: 1.5,
      mode: 'bitsandbytes',
      skipModules: ['q_proj'],
      quantizeHead: true,
    });
    const layers = model.transformer.modules.filter((module) => module instanceof LinearInt8);
    expect(layers).toHaveLength(8);
    for (const { config } of layers) {
      expect(config).toMatchObject({ threshold: 1.5, mode: 'bitsandbytes', quantizeHead: false });
    }
    expect(model.transformer.modules.find(({ name }) => name === 'lm_head')?.method).toBe('f16');
  });

  test('runs with its own threshold unless another is given', async () => {
    const low = await variant(() => undefined, { llm_int8_threshold: 0.5 });
    const own = await logits(low);
    expect(own).toEqual(await logits(hf, { method: 'llm.int8', threshold: 0.5 }));
    expect(own).not.toEqual(await logits(hf));
    expect(await logits(low, { method: 'llm.int8', threshold: 6 })).toEqual(await logits(hf));
    const folder = folders.path();
    await using model = await open(low);
    await model.savePretrained(folder);
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as typeof hfConfig;
    expect(config.quantization_config.llm_int8_threshold).toBe(0.5);
  });

  test('needs no quantization_config, and no weight_format', async () => {
    const folder = folders.path();
    const tensors = readTensors(join(hf, 'model.safetensors'));
    for (const name of tensors.keys()) if (name.endsWith('weight_format')) tensors.delete(name);
    const { quantization_config: _, ...config } = hfConfig;
    await writeFolder(
      folder,
      config,
      [...tensors].map(([name, tensor]) => sourceOf(name, tensor)),
    );
    expect(await logits(folder)).toEqual(await logits(hf));
  });

  test('with one layer in 16 bits keeps it so', async () => {
    const folder = await variant((tensors) => {
      const { shape } = tensors.get(`${LAYER}.weight`) as RawTensor;
      const bytes = new Uint8Array(2 * (shape as [number, number])[0] * (shape[1] as number));
      tensors.set(`${LAYER}.weight`, { dtype: 'F16', shape, bytes });
      tensors.delete(`${LAYER}.SCB`);
      tensors.delete(`${LAYER}.weight_format`);
    });
    await using model = await open(folder);
    expect(model.transformer.modules.find(({ name }) => name === LAYER)?.method).toBe('f16');
  });
});

describe('refused, naming the layer', () => {
  const scb = (tensors: Map<string, RawTensor>) => tensors.get(`${LAYER}.SCB`) as RawTensor;

  test.each<[string, (tensors: Map<string, RawTensor>) => void, RegExp]>([
    ['without scales', (tensors) => tensors.delete(`${LAYER}.SCB`), /int8.*SCB.*missing/],
    ['col32', (tensors) => tensors.set(`${LAYER}.weight_format`, scalar(1)), /col32.*only 'row'/],
    ['col_turing', (tensors) => tensors.set(`${LAYER}.weight_format`, scalar(2)), /col_turing/],
    ['col_ampere', (tensors) => tensors.set(`${LAYER}.weight_format`, scalar(3)), /col_ampere/],
    ['an unknown layout', (tensors) => tensors.set(`${LAYER}.weight_format`, scalar(9)), /'9'/],
    [
      'a 16-bit weight with scales',
      (tensors) => {
        const { shape } = tensors.get(`${LAYER}.weight`) as RawTensor;
        const bytes = new Uint8Array(2 * 256 * 128);
        tensors.set(`${LAYER}.weight`, { dtype: 'F16', shape, bytes });
      },
      /should be int8.*f16/,
    ],
    [
      'too few scales',
      (tensors) => {
        const bytes = scb(tensors).bytes.slice(4);
        tensors.set(`${LAYER}.SCB`, { dtype: 'F32', shape: [255], bytes });
      },
      /\[255\].*\[256\]/,
    ],
    [
      'scales in 16 bits',
      (tensors) => {
        const bytes = scb(tensors).bytes.slice(0, 512);
        tensors.set(`${LAYER}.SCB`, { dtype: 'F16', shape: [256], bytes });
      },
      /SCB.*f16.*f32/,
    ],
    [
      'a weight of another shape',
      (tensors) => {
        const { bytes } = tensors.get(`${LAYER}.weight`) as RawTensor;
        tensors.set(`${LAYER}.weight`, { dtype: 'I8', shape: [128, 256], bytes });
      },
      /\[128, 256\].*\[256, 128\]/,
    ],
    [
      'no weight',
      (tensors) => {
        for (const part of ['weight', 'SCB', 'weight_format']) tensors.delete(`${LAYER}.${part}`);
      },
      /holds no tensor/,
    ],
  ])('%s', async (_, change, message) => {
    const error = await open(await variant(change)).catch((reason: Error) => reason);
    expect(error).toMatchObject({ code: 'ERR_FEWBIT_CHECKPOINT' });
    expect((error as Error).message).toContain(LAYER);
    expect((error as Error).message).toMatch(message);
  });

  test.each([
    [{ load_in_8bit: false, load_in_4bit: true }, /4 bits/],
    [{ quant_method: 'awq' }, /awq/],
  ])('quantization_config %j', async (quantization, message) => {
    const folder = await variant(() => undefined, quantization);
    await expect(open(folder)).rejects.toMatchObject({
      code: 'ERR_FEWBIT_UNSUPPORTED',
      message: expect.stringMatching(message) as string,
    });
  });
});
