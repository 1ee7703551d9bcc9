import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, quantize } from '../../lib';
import { LinearGptq } from '../../lib/quant/gptq';
import { Folders, sourceOf, writeFolder } from '../support/checkpoints';
import { dequantized } from '../support/dequantize';
import { goldenFolder, type RawTensor, readTensors, relativeError } from '../support/golden';
import { encode } from '../support/host-tensor';
import { writeSmallLlama } from '../support/small-llama';
import { normals } from '../support/tensors';

const folders = new Folders();
afterAll(() => folders.dispose());

/** Ids that repeat rarely, for any vocabulary of at least 64. */
const dataset = Array.from({ length: 8 }, (_, row) =>
  Array.from({ length: 48 }, (_, i) => (row * 31 + i * 17 + i * i) % 64),
);
const readConfig = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;

const LLAMA_LINEARS = 7;
const OPT_LINEARS = 6;

/** Writes a BitNet model in full precision: a Llama with two more norms in a layer. */
async function writeFloatBitnet(folder: string): Promise<void> {
  const llama = folders.path();
  const [hidden, inner, layers] = [64, 96, 2];
  await writeSmallLlama(llama, { hidden, inner, layers });
  const tensors = [...readTensors(join(llama, 'model.safetensors'))].map(([name, tensor]) =>
    sourceOf(name, tensor),
  );
  for (let layer = 0; layer < layers; layer++) {
    for (const [norm, size] of [
      ['self_attn.attn_sub_norm', hidden],
      ['mlp.ffn_sub_norm', inner],
    ] as const) {
      const data = normals(size, layer, 0.1).map((value) => value + 1);
      const name = `model.layers.${layer}.${norm}.weight`;
      tensors.push({ name, dtype: 'f32', shape: [size], data: encode(data, 'f32') });
    }
  }
  const own = {
    architectures: ['BitNetForCausalLM'],
    model_type: 'bitnet',
    hidden_act: 'relu2',
    bos_token_id: 1,
    eos_token_id: 2,
  };
  await writeFolder(folder, { ...readConfig(llama), ...own }, tensors);
}

async function run(folder: string) {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  const layers = model.transformer.modules.filter((module) => module instanceof LinearGptq).length;
  return { logits: (await model.forward([dataset[0] as number[]])).logits, layers };
}

/** Every architecture that the runner knows, with the linear layers of one of its blocks. */
test.each<[string, number, string | null]>([
  ['Llama, grouped queries', LLAMA_LINEARS, 'llama-gqa'],
  ['Llama, scaled rotary positions', LLAMA_LINEARS, 'llama3-rope'],
  ['OPT', OPT_LINEARS, 'opt'],
  ['OPT, norms behind, embeddings projected', OPT_LINEARS, 'opt-350m-style'],
  ['BitNet in full precision', LLAMA_LINEARS, null],
])('%s: quantized, saved and run', async (_, perBlock, golden) => {
  const origin = golden ? goldenFolder(golden) : folders.path();
  if (!golden) await writeFloatBitnet(origin);
  const original = await run(origin);
  expect(original.layers).toBe(0);
  const errors: number[] = [];
  for (const bits of [8, 4] as const) {
    const out = folders.path();
    const options = { method: 'gptq', bits, groupSize: 32 } as const;
    const { layers } = await quantize(origin, options, { out, device: 'cpu', dataset });
    expect(layers).toHaveLength(2 * perBlock);
    const quantized = await run(out);
    expect(quantized.layers).toBeGreaterThan(0);
    // A model of the weights that the codes stand for computes the same.
    const codes = readTensors(join(out, 'model.safetensors'));
    const tensors = readTensors(join(origin, 'model.safetensors'));
    for (const { name } of layers) {
      const { shape } = tensors.get(`${name}.weight`) as RawTensor;
      const weight = Float32Array.from(dequantized(codes, name, bits, true));
      tensors.set(`${name}.weight`, { dtype: 'F32', shape, bytes: new Uint8Array(weight.buffer) });
    }
    const plain = folders.path();
    const sources = [...tensors].map(([name, tensor]) => sourceOf(name, tensor));
    await writeFolder(plain, readConfig(origin), sources);
    expect(relativeError(quantized.logits, (await run(plain)).logits)).toBeLessThan(1e-4);
    errors.push(relativeError(quantized.logits, original.logits));
  }
  const [eight, four] = errors as [number, number];
  expect(eight).toBeGreaterThan(0);
  expect(eight).toBeLessThan(four / 4);
});
