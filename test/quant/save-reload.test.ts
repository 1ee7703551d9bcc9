import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, type QuantizationConfig } from '../../lib';
import type { CausalLanguageModel } from '../../lib/pretrained/model';
import { LinearInt8 } from '../../lib/quant/llm-int8';
import { Folders, type TinyOptions, tinyShapes, writeTinyLlama } from '../support/checkpoints';
import { goldenFolder, type RawTensor, readTensors } from '../support/golden';
import { fromBfloat16, fromHalf, rounded } from '../support/half';

const folders = new Folders();
afterAll(() => folders.dispose());

const PROMPT = [5, 60, 33, 2, 70, 11, 8, 9];
const COLUMNS_FILE = 'fewbit_outlier_columns.safetensors';

const open = (folder: string, quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    ...(quantization ? { quantization } : {}),
  });
const logitsOf = async (model: CausalLanguageModel) => (await model.forward([PROMPT])).logits;
const readJson = (path: string) =>
  JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

/** Quantizes a tiny model and saves it. */
async function saved(options: TinyOptions, quantization: QuantizationConfig) {
  const [source, folder] = [folders.path(), folders.path()];
  const weights = await writeTinyLlama(source, options);
  await using model = await open(source, quantization);
  const logits = await logitsOf(model);
  await model.savePretrained(folder);
  return { folder, logits, weights, source };
}

/** Saves what was loaded once more, and returns the second folder. */
async function resaved(folder: string, quantization?: QuantizationConfig): Promise<string> {
  const again = folders.path();
  await using model = await open(folder, quantization);
  await model.savePretrained(again);
  return again;
}

describe('the format of transformers and bitsandbytes', () => {
  test('names, dtypes and shapes', async () => {
    const { folder } = await saved({ dtype: 'bf16' }, { method: 'llm.int8' });
    const expected = new Map<string, [string, number[]]>();
    for (const [name, shape] of Object.entries(tinyShapes(false))) {
      if (!/_proj/.test(name)) expected.set(name, ['BF16', shape]);
      else {
        expected.set(name, ['I8', shape]);
        expected.set(name.replace(/weight$/, 'SCB'), ['F32', [shape[0] as number]]);
        expected.set(name.replace(/weight$/, 'weight_format'), ['U8', []]);
      }
    }
    const tensors = readTensors(join(folder, 'model.safetensors'));
    const found = [...tensors].map(([name, { dtype, shape }]) => [name, [dtype, shape]] as const);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected));
    for (const [name, { bytes }] of tensors) {
      if (name.endsWith('weight_format')) expect([...bytes]).toEqual([0]);
    }
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  test.each([
    [{ method: 'llm.int8' }, 6, null],
    [{ method: 'llm.int8', threshold: 0 }, 0, null],
    [{ method: 'llm.int8', threshold: 4.5, skipModules: ['o_proj'] }, 4.5, ['o_proj', 'lm_head']],
    [{ method: 'llm.int8', quantizeHead: true }, 6, []],
  ] as const)('quantization_config of %j', async (options, threshold, skipped) => {
    const { folder, source } = await saved({}, options as unknown as QuantizationConfig);
    const { quantization_config, ...rest } = readJson(join(folder, 'config.json'));
    expect(quantization_config).toEqual({
      quant_method: 'bitsandbytes',
      _load_in_8bit: true,
      _load_in_4bit: false,
      load_in_8bit: true,
      load_in_4bit: false,
      llm_int8_threshold: threshold,
      llm_int8_skip_modules: skipped,
      llm_int8_enable_fp32_cpu_offload: false,
      llm_int8_has_fp16_weight: false,
      bnb_4bit_compute_dtype: 'float32',
      bnb_4bit_quant_storage: 'uint8',
      bnb_4bit_quant_type: 'fp4',
      bnb_4bit_use_double_quant: false,
    });
    expect(rest).toEqual(readJson(join(source, 'config.json')));
  });
});

describe('saved and loaded again', () => {
  test.each([
    ['paper', { method: 'llm.int8' }, {}],
    ['bitsandbytes', { method: 'llm.int8', mode: 'bitsandbytes' }, {}],
    ['f32', { method: 'llm.int8' }, { dtype: 'f32' }],
    ['bf16, threshold 2', { method: 'llm.int8', threshold: 2 }, { dtype: 'bf16' }],
    ['skipped layers', { method: 'llm.int8', skipModules: ['k_proj', 'layers.1'] }, {}],
    ['tied', { method: 'llm.int8' }, { tied: true }],
    ['head', { method: 'llm.int8', quantizeHead: true }, {}],
    ['tied head', { method: 'llm.int8', quantizeHead: true }, { tied: true }],
  ] as const)('%s: the same codes and outputs', async (_, quantization, options) => {
    const given = quantization as unknown as QuantizationConfig;
    const { folder, logits } = await saved(options, given);
    const { mode } = given as { mode?: 'paper' };
    const run = { method: 'llm.int8', ...(mode ? { mode } : {}) } as const;
    await using model = await open(folder, run);
    expect(await logitsOf(model)).toEqual(logits);
    const again = await resaved(folder, run);
    const bytes = (path: string) => readFileSync(join(path, 'model.safetensors'));
    expect(bytes(again).equals(bytes(folder))).toBe(true);
    expect(readJson(join(again, 'config.json'))).toEqual(readJson(join(folder, 'config.json')));
  });

  test('a checkpoint of bitsandbytes keeps every byte', async () => {
    const again = await resaved(goldenFolder('llm-int8-hf'));
    const before = readTensors(join(goldenFolder('llm-int8-hf'), 'model.safetensors'));
    const after = readTensors(join(again, 'model.safetensors'));
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [name, tensor] of after) expect([name, tensor]).toEqual([name, before.get(name)]);
  });
});

describe('columns kept in 16 bits', () => {
  const faint = { columns: [4], factor: 100 };

  test.each(['f16', 'bf16'] as const)('are those that int8 represents badly, %s', async (dtype) => {
    const { folder, logits, weights } = await saved({ dtype, faint }, { method: 'llm.int8' });
    const columns = readTensors(join(folder, COLUMNS_FILE));
    for (const [name, shape] of Object.entries(tinyShapes(false))) {
      if (!/_proj/.test(name)) continue;
      const [rows, cols] = shape as [number, number];
      const prefix = name.replace(/weight$/, '');
      const index = columns.get(`${prefix}outlier_columns`) as RawTensor;
      const kept = columns.get(`${prefix}outlier_weight`) as RawTensor;
      expect([index.dtype, ...new Int32Array(index.bytes.buffer)]).toEqual(['I32', 4]);
      expect([kept.dtype, kept.shape]).toEqual([dtype.toUpperCase(), [1, rows]]);
      const bits = new Uint16Array(kept.bytes.buffer);
      const original = weights.get(name) as Float64Array;
      for (let row = 0; row < rows; row++) {
        expect(fromBits(bits[row] as number, dtype)).toBe(
          rounded(original[row * cols + 4] as number, dtype),
        );
      }
    }
    await using model = await open(folder);
    expect(keptColumns(model)).toEqual(new Array(8).fill(1));
    expect(await logitsOf(model)).toEqual(logits);
    const again = await resaved(folder);
    const bytes = (path: string) => readFileSync(join(path, COLUMNS_FILE));
    expect(bytes(again).equals(bytes(folder))).toBe(true);
  });

  test.each([
    { method: 'llm.int8', keptColumns: 'none' },
    { method: 'llm.int8', mode: 'bitsandbytes' },
    { method: 'llm.int8', threshold: 0 },
  ] as const)('not with %j', async (quantization) => {
    const { folder } = await saved({ faint }, quantization);
    expect(existsSync(join(folder, COLUMNS_FILE))).toBe(false);
  });
});

function keptColumns({ transformer }: CausalLanguageModel): number[] {
  return transformer.modules.flatMap((module) =>
    module instanceof LinearInt8 ? [module.keptColumns] : [],
  );
}

function fromBits(bits: number, dtype: 'f16' | 'bf16'): number {
  return dtype === 'f16' ? fromHalf(bits) : fromBfloat16(bits);
}
