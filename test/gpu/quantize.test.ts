import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  type DeviceName,
  type GptqOptions,
  perplexity,
  quantize,
} from '../../lib';
import { heldoutWindows, sampleFolder } from '../support/golden';
import { describeGpu } from '../support/gpu';
import { heldoutIds } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';

const folder = temporaryFolder();
const ids = heldoutIds();
const dataset = heldoutWindows(16)
  .slice(8)
  .map((window) => window.slice(0, 192));

async function quantizedOn(device: DeviceName, name: string, options: GptqOptions) {
  const out = join(folder, `${device}-${name}-${options.bits}`);
  const config = { method: 'gptq', ...options } as const;
  const report = await quantize(sampleFolder(name), config, { out, device, dataset });
  await using model = await AutoModelForCausalLM.fromPretrained(out, {
    device: 'cpu',
    maxContext: 512,
  });
  return { ...report, perplexity: (await perplexity(model, ids, { limit: 4 })).perplexity };
}

describeGpu('quantize on CUDA', () => {
  test.each<[string, GptqOptions]>([
    ['sample-llama', { bits: 4, lmHead: true }],
    ['sample-opt', { bits: 3, groupSize: 32, sym: false, descAct: true, trueSequential: false }],
  ])('%s, %j: as good as on the CPU', async (name, options) => {
    const [cuda, cpu] = [
      await quantizedOn('cuda', name, options),
      await quantizedOn('cpu', name, options),
    ];
    expect(cuda.notices).toEqual([]);
    // Hidden states are rounded to 16 bits, so codes differ here and there.
    expect(Math.abs(cuda.perplexity / cpu.perplexity - 1)).toBeLessThan(0.03);
    for (const [i, { error }] of cuda.layers.entries()) {
      expect(Math.abs(error / (cpu.layers[i]?.error as number) - 1)).toBeLessThan(0.2);
    }
  });
});
