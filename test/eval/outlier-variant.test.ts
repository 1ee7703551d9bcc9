import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  perplexity,
  type QuantizationConfig,
  writeOutlierVariant,
} from '../../lib';
import { goldenFolder, relativeError, sampleFolder } from '../support/golden';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';

const ids = heldoutIds();
const root = temporaryFolder();

const load = (folder: string, quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(folder, {
    device: 'cpu',
    maxBatch: 1,
    maxContext: 512,
    ...(quantization ? { quantization } : {}),
  });

async function perplexityOf(folder: string, quantization?: QuantizationConfig): Promise<number> {
  await using model = await load(folder, quantization);
  return (await perplexity(model, ids, { limit: 24 })).perplexity;
}

async function logitsOf(folder: string): Promise<Float32Array> {
  await using model = await load(folder);
  return (await model.forward([ids.subarray(0, 64)])).logits;
}

describe.each(SAMPLE_NAMES)('the outlier variant of %s', (name) => {
  const variant = join(root, name);
  beforeAll(async () => {
    const written = await writeOutlierVariant(sampleFolder(name), variant);
    expect(written).toEqual({ features: [25, 76, 128, 179, 230], scale: 64 });
  });

  test('computes the same function', async () => {
    const [original, scaled] = [await logitsOf(sampleFolder(name)), await logitsOf(variant)];
    const error = relativeError(scaled, original);
    expect(error).toBeLessThan(2e-4);
    // The same file would be equal exactly: some 16-bit weights have lost their last bits.
    expect(error).toBeGreaterThan(0);
  });

  test('loses less than 0.5% in LLM.int8(), and a lot without decomposition', async () => {
    const reference = await perplexityOf(variant);
    const llmInt8 = await perplexityOf(variant, { method: 'llm.int8' });
    const plain = await perplexityOf(variant, { method: 'llm.int8', threshold: 0 });
    expect(llmInt8 / reference - 1).toBeLessThan(0.005);
    expect(plain / reference - 1).toBeGreaterThan(0.1);
  });
});

describe('writeOutlierVariant', () => {
  test('copies what belongs to the model, and nothing else', async () => {
    const out = join(root, 'files');
    await writeOutlierVariant(sampleFolder('sample-opt'), out, { features: [3], scale: 2 });
    const files = readdirSync(sampleFolder('sample-opt')).filter((name) => !name.endsWith('.md'));
    expect(readdirSync(out).sort()).toEqual(files.sort());
  });

  test.each([
    [{ features: [256] }, /256 is not a hidden feature: they go from 0 to 255/],
    [{ features: [-1] }, /-1 is not a hidden feature/],
    [{ scale: 3 }, /scale must be a power of two, got 3/],
    [{ scale: 0 }, /scale must be a power of two, got 0/],
  ])('refuses %j', async (options, message) => {
    const written = writeOutlierVariant(sampleFolder('sample-opt'), join(root, 'refused'), options);
    await expect(written).rejects.toThrow(message);
  });

  test.each([
    ['opt-350m-style', /norms stand after the blocks/],
    ['llm-int8-hf', /weights are quantized/],
  ])('refuses %s', async (name, message) => {
    const written = writeOutlierVariant(goldenFolder(name), join(root, 'refused'));
    await expect(written).rejects.toMatchObject({
      code: 'ERR_FEWBIT_UNSUPPORTED',
      message: expect.stringMatching(message),
    });
  });

  test('refuses to overwrite the original', async () => {
    const folder = sampleFolder('sample-opt');
    await expect(writeOutlierVariant(folder, folder)).rejects.toThrow(/folder of the original/);
  });
});
