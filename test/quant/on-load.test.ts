import { AutoModelForCausalLM, type QuantizationConfig } from '../../lib';
import type { DType } from '../../lib/native';
import { LinearInt8 } from '../../lib/quant/llm-int8';
import { Folders, tinyShapes, writeTinyLlama } from '../support/checkpoints';
import { readTensors, relativeError, sampleFolder } from '../support/golden';
import { rounded } from '../support/half';
import { int8Quantize } from '../support/reference/int8';

const folders = new Folders();
afterAll(() => folders.dispose());

const PROMPT = [5, 60, 33, 2, 70, 11];

/** Loads, quantizes, saves; returns what was saved and the logits of a prompt. */
async function quantized(folder: string, quantization: QuantizationConfig) {
  const out = folders.path();
  await using model = await AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    quantization,
  });
  const { logits } = await model.forward([PROMPT]);
  await model.savePretrained(out);
  return { tensors: readTensors(`${out}/model.safetensors`), logits };
}

async function plainLogits(folder: string): Promise<Float32Array> {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  return (await model.forward([PROMPT])).logits;
}

/** Codes and scales of a weight by the reference, from values rounded to a dtype. */
function codesOf(weight: Float64Array, shape: number[], dtype: DType) {
  const data = weight.map((value) => rounded(value, dtype));
  const inputs = {
    x: { shape, data },
    codes: { shape, data: new Float64Array(data.length) },
    stats: { shape: [2], data: new Float64Array(2) },
  };
  const { codes, scales } = int8Quantize(inputs, { threshold: 0, mode: 0 });
  return { codes: Int8Array.from(codes as Float64Array), scales: Float32Array.from(scales ?? []) };
}

const layers = Object.entries(tinyShapes(false)).filter(([name]) => /_proj/.test(name));

describe.each(['f32', 'f16', 'bf16'] as const)('a checkpoint in %s', (dtype) => {
  test.each(['paper', 'bitsandbytes'] as const)('%s mode', async (mode) => {
    const folder = folders.path();
    const weights = await writeTinyLlama(folder, { dtype });
    const { tensors, logits } = await quantized(folder, { method: 'llm.int8', mode });
    for (const [name, shape] of layers) {
      const stored = (weights.get(name) as Float64Array).map((value) => rounded(value, dtype));
      // bitsandbytes casts to fp16 before it quantizes.
      const expected = codesOf(stored, shape, mode === 'paper' ? dtype : 'f16');
      const scb = tensors.get(name.replace(/weight$/, 'SCB'));
      expect(new Int8Array(tensors.get(name)?.bytes.buffer as ArrayBuffer)).toEqual(expected.codes);
      expect(new Float32Array(scb?.bytes.buffer as ArrayBuffer)).toEqual(expected.scales);
    }
    const error = relativeError(logits, await plainLogits(folder));
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(0.05);
  });
});

describe('which layers', () => {
  const int8Names = (tensors: ReturnType<typeof readTensors>) =>
    [...tensors].filter(([, { dtype }]) => dtype === 'I8').map(([name]) => name.slice(0, -7));

  test.each([
    [['q_proj'], /q_proj/],
    [['model.layers.1'], /layers\.1\./],
    [['model.layers.0.mlp.down_proj', 'self_attn'], /layers\.0\.mlp\.down_proj|self_attn/],
    [['proj', 'mlp.gate'], /^$/],
  ])('skipModules %j', async (skipModules, skipped) => {
    const folder = folders.path();
    await writeTinyLlama(folder);
    const { tensors } = await quantized(folder, { method: 'llm.int8', skipModules });
    const expected = layers
      .map(([name]) => name.slice(0, -7))
      .filter((name) => !skipped.test(name));
    expect(int8Names(tensors).sort()).toEqual(expected.sort());
    for (const [name, { dtype }] of tensors) {
      if (skipped.test(name)) expect([name, dtype]).toEqual([name, 'F16']);
    }
  });

  test.each([false, true])('the head only when asked, tied %p', async (tied) => {
    const folder = folders.path();
    await writeTinyLlama(folder, { tied });
    const plain = await quantized(folder, { method: 'llm.int8' });
    expect(plain.tensors.get('lm_head.weight')?.dtype).toBe(tied ? undefined : 'F16');
    const asked = await quantized(folder, { method: 'llm.int8', quantizeHead: true });
    expect(asked.tensors.get('lm_head.weight')).toMatchObject({ dtype: 'I8', shape: [71, 36] });
    expect(asked.tensors.get('lm_head.SCB')?.shape).toEqual([71]);
    expect(asked.tensors.get('model.embed_tokens.weight')?.dtype).toBe('F16');
    expect(relativeError(asked.logits, plain.logits)).toBeGreaterThan(0);
    expect(relativeError(asked.logits, plain.logits)).toBeLessThan(0.05);
  });
});

test('a wrong option is refused by name', async () => {
  const folder = folders.path();
  await writeTinyLlama(folder);
  const load = (quantization: unknown) =>
    AutoModelForCausalLM.fromPretrained(folder, {
      device: 'cpu',
      quantization: quantization as QuantizationConfig,
    });
  for (const [options, word] of [
    [{ method: 'llm.int8', threshold: -1 }, /threshold/],
    [{ method: 'llm.int8', threshold: Number.NaN }, /threshold/],
    [{ method: 'llm.int8', mode: 'fast' }, /mode/],
    [{ method: 'llm.int8', skipModules: 'q_proj' }, /skipModules/],
    [{ method: 'llm.int8', treshold: 6 }, /treshold/],
    [{ method: 'nf4' }, /nf4.*llm\.int8/],
    [{ threshold: 6 }, /method/],
    ['llm.int8', /method/],
  ] as const) {
    await expect(load(options)).rejects.toMatchObject({
      code: 'ERR_FEWBIT_OPTIONS',
      message: expect.stringMatching(word) as string,
    });
  }
});

test.each(['sample-llama', 'sample-opt'])('%s takes less than 0.55 of 16 bits', async (name) => {
  const memory = async (quantization?: QuantizationConfig) => {
    await using model = await AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
      device: 'cpu',
      ...(quantization ? { quantization } : {}),
    });
    const linears = model.transformer.modules.filter((module) => 'spec' in module);
    return {
      linears: linears.reduce((sum, { bytes }) => sum + bytes, 0),
      used: model.device.memory().used,
      int8: linears.filter((module) => module instanceof LinearInt8).length,
    };
  };
  const half = await memory();
  const int8 = await memory({ method: 'llm.int8' });
  expect(int8.int8).toBe(16);
  expect(int8.linears / half.linears).toBeLessThan(0.55);
  // What the modules say is what the device holds.
  expect(half.used - int8.used).toBe(half.linears - int8.linears);
});
