import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, type QuantizationConfig } from '../../lib';
import type { TensorSource } from '../../lib/checkpoint/safetensors-writer';
import {
  type BitnetFolderOptions,
  LINEAR_NAMES,
  masterLayer,
  PACKED,
  packedLayer,
  writeTinyBitnet,
} from '../support/bitnet-checkpoint';
import { Folders } from '../support/checkpoints';

const folders = new Folders();
afterAll(() => folders.dispose());

async function written(options: BitnetFolderOptions = {}): Promise<string> {
  const folder = folders.path();
  await writeTinyBitnet(folder, options);
  return folder;
}

/** What loading a folder throws. */
async function errorIn(folder: string, quantization?: QuantizationConfig): Promise<Error> {
  const options = quantization ? { quantization } : {};
  try {
    await using _ = await AutoModelForCausalLM.fromPretrained(folder, {
      device: 'cpu',
      ...options,
    });
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

describe('what is refused', () => {
  const first = LINEAR_NAMES[0] as string;
  const weight = `${first}.weight`;
  const scale = `${first}.weight_scale`;
  const bytes = (name: string, shape: number[], fill = 0x55): TensorSource => ({
    name,
    dtype: 'u8',
    shape,
    data: new Uint8Array(shape.reduce((a, b) => a * b)).fill(fill),
  });
  const bf16 = (shape: number[], bits: number): TensorSource => ({
    name: scale,
    dtype: 'bf16',
    shape,
    data: new Uint16Array(shape.reduce((a, b) => a * b)).fill(bits),
  });

  test.each<[string, BitnetFolderOptions, RegExp]>([
    ['codes of 3', { instead: [bytes(weight, [12, 48], 0xd5)] }, /weight holds 576 codes of 3/],
    ['too few rows', { instead: [bytes(weight, [11, 48])] }, /u8\[11, 48\].*u8\[12, 48\]/],
    ['too few columns', { instead: [bytes(weight, [12, 47])] }, /u8\[12, 47\].*48 inputs/],
    [
      'two scales for a matrix',
      { instead: [bf16([2], 0x3e80)] },
      /q_proj\.weight_scale is bf16\[2\], but one float/,
    ],
    ['a scale of 0', { instead: [bf16([1], 0)] }, /weight_scale is 0\. By .*linear_class/],
    ['a NaN scale', { instead: [bf16([1], 0x7fc0)] }, /weight_scale is NaN/],
    ['a linear_class', { quantization: { ...PACKED, linear_class: 'x' } }, /linear_class 'x'/],
    ['a mode', { quantization: { ...PACKED, quantization_mode: 'x' } }, /quantization_mode 'x'/],
    [
      'a norm that is not there',
      { quantization: { ...PACKED, use_rms_norm: true } },
      /no tensor .*rms_norm\.weight/,
    ],
    ['a wrong key', { quantization: { ...PACKED, linear_class: 3 } }, /linear_class/],
    ['no configuration', { quantization: null }, /has no quantization_config/],
    ['more bits', { config: { hidden_act: 'gelu' } }, /hidden_act 'gelu'/],
  ])('%s', async (_, options, message) => {
    const error = await errorIn(await written(options));
    expect(error.message).toMatch(message);
    expect((error as { code?: string }).code).toMatch(/^ERR_FEWBIT/);
  });

  test('a scale read the wrong way round', async () => {
    const swapped = await errorIn(
      await written({
        linear: (name, ternary, columns) => packedLayer(name, ternary, columns, 40),
      }),
    );
    expect(swapped.message).toMatch(/linear_class 'autobitlinear'.*as large as 40/s);
    const plain = await errorIn(
      await written({
        quantization: { quant_method: 'bitnet' },
        linear: (name, ternary, columns) => packedLayer(name, ternary, columns, 1 / 32),
      }),
    );
    expect(plain.message).toMatch(/without a linear_class.*as large as 32/s);
  });

  test('a packed weight without its scale', async () => {
    const folder = await written({
      linear: (name, ternary, columns) => packedLayer(name, ternary, columns).slice(0, 1),
    });
    expect((await errorIn(folder)).message).toMatch(/weight_scale is missing/);
  });

  test('float weights in the place of packed ones', async () => {
    const folder = await written({
      linear: (name, ternary, columns) => [
        ...masterLayer(name, ternary, columns),
        ...packedLayer(name, ternary, columns).slice(1),
      ],
    });
    expect((await errorIn(folder)).message).toMatch(/is f32\[48, 48\], but packed ternary/);
  });

  test('masters that are not finite', async () => {
    const folder = await written({
      linear: (name, ternary, columns) =>
        masterLayer(name, ternary, columns).map((tensor) => ({
          ...tensor,
          data: (tensor.data as Float32Array).fill(Number.POSITIVE_INFINITY, 3, 4),
        })),
    });
    expect((await errorIn(folder)).message).toMatch(/NaN or infinities/);
  });

  test('a truncated file', async () => {
    const folder = await written();
    truncateSync(join(folder, 'model.safetensors'), 4000);
    expect((await errorIn(folder)).message).toMatch(/model\.safetensors/);
  });

  test('another method on ternary weights', async () => {
    const error = await errorIn(await written(), { method: 'llm.int8' });
    expect(error.message).toMatch(/ternary already/);
  });

  test('wrong options', async () => {
    const wrong = { method: 'bitnet', lmHead: 'int4' } as unknown as QuantizationConfig;
    expect((await errorIn(await written(), wrong)).message).toMatch(/bitnet: .*lmHead/);
  });

  test('weights of 1bitLLM with other widths', async () => {
    const folder = await written();
    const config = {
      ...(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object),
      architectures: ['BitnetForCausalLM'],
      model_type: 'llama',
    };
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, weight_bits: 2 }));
    expect((await errorIn(folder)).message).toMatch(/weight_bits '2'/);
  });
});
