import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '../../lib';
import { sampleFolder } from '../support/golden';
import { temporaryFolder } from '../support/temporary-folder';
import { fewbit, fewbitJson } from './fewbit';

const folder = temporaryFolder();
const source = sampleFolder('sample-llama');

test('writes a ternary copy that is the model quantized on load, and says what it is worth', async () => {
  const out = join(folder, 'ternary');
  const { notices, method, after } = await fewbitJson<{
    notices: string[];
    method: string;
    after: Record<string, number>;
  }>(['quantize', source, '--method', 'bitnet', '--out', out]);
  expect(method).toBe('bitnet');
  expect(notices).toEqual([expect.stringMatching(/by \d\d% of their size on average.*forgets/)]);
  // Linear layers in 2 bits; the embedding, which is the head too, and the norms in 16.
  expect(Object.keys(after).sort()).toEqual(['f16', 'f32', 'u8']);
  expect(after.u8).toBe(3_145_728 / 4);
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as object;
  expect(config).toMatchObject({
    tie_word_embeddings: true,
    quantization_config: { quant_method: 'bitnet', linear_class: 'autobitlinear' },
  });
  const ids = [[1, 855, 326, 261, 1232, 922, 14, 285]];
  await using saved = await AutoModelForCausalLM.fromPretrained(out, { device: 'cpu' });
  await using loaded = await AutoModelForCausalLM.fromPretrained(source, {
    device: 'cpu',
    quantization: { method: 'bitnet' },
  });
  expect((await saved.forward(ids)).logits).toEqual((await loaded.forward(ids)).logits);
});

test('says nothing of damage to a model that was trained so', async () => {
  const out = join(folder, 'bitnet');
  const { notices } = await fewbitJson<{ notices: string[] }>([
    ...['quantize', sampleFolder('sample-bitnet'), '--method', 'bitnet', '--out', out],
  ]);
  expect(notices).toEqual([]);
});

test('refuses the options of other methods', async () => {
  const args = ['quantize', source, '--method', 'bitnet', '--out', join(folder, 'none')];
  const threshold = await fewbit([...args, '--threshold', '6']);
  expect(threshold.stderr).toMatch(/bitnet: .*threshold/);
  const bits = await fewbit([...args, '--bits', '4']);
  expect(bits.stderr).toMatch(/--bits is an option of gptq/);
  expect([threshold.code, bits.code]).toEqual([2, 2]);
});
