import { AutoModelForCausalLM, quantize, type RptqConfigName } from '../../lib';
import type { FromPretrainedOptions } from '../../lib/pretrained/auto';
import {
  type Architecture,
  smallWindows,
  writeSmallModel,
} from '../quant/rptq/support/small-models';
import { Folders } from '../support/checkpoints';
import { relativeError } from '../support/golden';
import { describeGpu } from '../support/gpu';

const folders = new Folders();
afterAll(() => folders.dispose());

const windows = smallWindows(4, 48);
const prompts = smallWindows(3, 40);

async function logits(folder: string, options: FromPretrainedOptions): Promise<Float32Array> {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, options);
  return (await model.forward(prompts)).logits;
}

async function quantized(
  architecture: Architecture,
  config: RptqConfigName,
  device: 'cpu' | 'cuda' = 'cpu',
): Promise<{ original: string; out: string }> {
  const [original, out] = [folders.path(), folders.path()];
  await writeSmallModel(original, architecture);
  await quantize(original, { method: 'rptq', config }, { out, device, dataset: windows });
  return { original, out };
}

describeGpu('on CUDA', () => {
  describe.each<Architecture>(['llama', 'opt'])('%s', (architecture) => {
    // The cache in 16 bits: its codes have tests of their own.
    const both = async (config: RptqConfigName) => {
      const { original, out } = await quantized(architecture, config);
      const cpu = await logits(out, { device: 'cpu', kvBits: 16 });
      const cuda = await logits(out, { device: 'cuda', dtype: 'f16', kvBits: 16 });
      return { exact: await logits(original, { device: 'cpu' }), cpu, cuda };
    };

    test.each<RptqConfigName>(['W4A16', 'W3A3KV'])('%s: the logits of the CPU', async (config) => {
      const { cpu, cuda } = await both(config);
      expect(relativeError(cuda, cpu)).toBeLessThan(5e-3);
    });

    // What is rounded to f16 before it becomes a code may become the next one: a step of that code.
    test.each<RptqConfigName>(['W4A8', 'W4A4'])('%s: as near to the original', async (config) => {
      const { exact, cpu, cuda } = await both(config);
      const error = relativeError(cpu, exact);
      expect(relativeError(cuda, exact)).toBeLessThan(1.15 * error);
      expect(relativeError(cuda, cpu)).toBeLessThan(0.6 * error);
    });

    test('quantized on CUDA, it is as near to the original', async () => {
      const error = async (device: 'cpu' | 'cuda'): Promise<number> => {
        const { original, out } = await quantized(architecture, 'W4A16', device);
        return relativeError(
          await logits(out, { device: 'cpu' }),
          await logits(original, { device: 'cpu' }),
        );
      };
      expect(await error('cuda')).toBeLessThan(1.25 * (await error('cpu')));
    });
  });
});
