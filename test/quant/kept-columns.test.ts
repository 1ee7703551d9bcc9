import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, type QuantizationConfig } from '../../lib';
import { writeSafetensors } from '../../lib/checkpoint/safetensors-writer';
import { worstColumns } from '../../lib/quant/llm-int8/kept-columns';
import { Folders, sourceOf, writeTinyLlama } from '../support/checkpoints';
import { type RawTensor, readTensors } from '../support/golden';

const folders = new Folders();
afterAll(() => folders.dispose());

const open = (folder: string, quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    ...(quantization ? { quantization } : {}),
  });

test('the worst columns are kept, at most one in fifty, and never a good one', () => {
  const errors = new Float32Array(1000).fill(0.012);
  expect(worstColumns(errors)).toEqual([]);
  const bad = Array.from({ length: 30 }, (_, i) => 7 + 31 * i);
  for (const [i, column] of bad.entries()) errors[column] = 0.04 + i / 100;
  expect(worstColumns(errors)).toEqual(bad.slice(-20));
  expect(worstColumns(errors.subarray(0, 100))).toEqual(bad.slice(0, 4).filter((k) => k < 100));
});

describe('damaged kept columns', () => {
  const file = 'fewbit_outlier_columns.safetensors';
  const prefix = 'model.layers.0.self_attn.o_proj';
  const indices = (...list: number[]): RawTensor => ({
    dtype: 'I32',
    shape: [list.length],
    bytes: new Uint8Array(Int32Array.from(list).buffer),
  });

  test.each<[string, Record<string, RawTensor>]>([
    ['a column that is not there', { [`${prefix}.outlier_columns`]: indices(36) }],
    ['a negative column', { [`${prefix}.outlier_columns`]: indices(-1) }],
    ['more columns than weights', { [`${prefix}.outlier_columns`]: indices(4, 5) }],
    [
      'indices of another dtype',
      { [`${prefix}.outlier_columns`]: { dtype: 'I64', shape: [1], bytes: new Uint8Array(8) } },
    ],
    [
      'weights of another shape',
      { [`${prefix}.outlier_weight`]: { dtype: 'F16', shape: [1, 35], bytes: new Uint8Array(70) } },
    ],
    [
      'weights that are no floats',
      {
        [`${prefix}.outlier_weight`]: { dtype: 'I32', shape: [1, 36], bytes: new Uint8Array(144) },
      },
    ],
  ])('%s', async (_, changed) => {
    const [source, folder] = [folders.path(), folders.path()];
    await writeTinyLlama(source, { faint: { columns: [4], factor: 100 } });
    await using model = await open(source, { method: 'llm.int8' });
    await model.savePretrained(folder);
    const columns = readTensors(join(folder, file));
    for (const [name, tensor] of Object.entries(changed)) columns.set(name, tensor);
    const damaged = folders.path();
    mkdirSync(damaged);
    for (const name of ['config.json', 'model.safetensors']) {
      copyFileSync(join(folder, name), join(damaged, name));
    }
    await writeSafetensors(
      join(damaged, file),
      [...columns].map(([name, tensor]) => sourceOf(name, tensor)),
    );
    await expect(open(damaged)).rejects.toMatchObject({
      code: 'ERR_FEWBIT_CHECKPOINT',
      message: expect.stringMatching(prefix) as string,
    });
  });
});
