import { AutoModelForCausalLM, analyzeOutliers, type DeviceName } from '../../lib';
import { sampleFolder } from '../support/golden';
import { describeGpu } from '../support/gpu';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';

const ids = heldoutIds();

async function analyze(name: string, device: DeviceName) {
  await using model = await AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
    device,
    maxContext: 512,
  });
  const { features, perplexity } = await analyzeOutliers(model, ids, { limit: 2, draws: 1 });
  return { features: features.map(({ feature }) => feature).sort(), ...perplexity };
}

describeGpu('analyzeOutliers on CUDA', () => {
  test.each(SAMPLE_NAMES)('%s shows what it shows on the CPU', async (name) => {
    const [cpu, cuda] = [await analyze(name, 'cpu'), await analyze(name, 'cuda')];
    expect(cuda.features).toEqual(cpu.features);
    for (const key of ['baseline', 'zeroed', 'random'] as const) {
      expect(Math.abs((cuda[key] as number) / (cpu[key] as number) - 1)).toBeLessThan(0.01);
    }
  });
});
