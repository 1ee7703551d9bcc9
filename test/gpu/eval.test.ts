import { AutoModelForCausalLM, analyzeOutliers, type DeviceName, perplexity } from '../../lib';
import { sampleExpected, sampleFolder } from '../support/golden';
import { describeGpu } from '../support/gpu';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';

const ids = heldoutIds();
const load = (name: string, device: DeviceName, threshold?: number) =>
  AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
    device,
    maxBatch: 2,
    maxContext: 512,
    ...(threshold === undefined ? {} : { quantization: { method: 'llm.int8', threshold } }),
  });

describeGpu('evaluation on CUDA', () => {
  test.each(SAMPLE_NAMES)('%s has the perplexity of float32, within 0.2%', async (name) => {
    await using model = await load(name, 'cuda');
    const { perplexity: expected } = sampleExpected(name);
    expect(Math.abs((await perplexity(model, ids)).perplexity / expected - 1)).toBeLessThan(0.002);
  });

  test.each(SAMPLE_NAMES)('%s in LLM.int8() loses less than 0.5%', async (name) => {
    await using model = await load(name, 'cuda', 6);
    const { perplexity: expected } = sampleExpected(name);
    expect((await perplexity(model, ids)).perplexity / expected - 1).toBeLessThan(0.005);
    expect(model.transformer.int8Share()).toBeGreaterThan(0.8);
  });

  test.each(SAMPLE_NAMES)(
    '%s shows the outlier features that it shows on the CPU',
    async (name) => {
      const analyze = async (device: DeviceName) => {
        await using model = await load(name, device);
        return analyzeOutliers(model, ids, { limit: 2, draws: 1 });
      };
      const [cpu, cuda] = [await analyze('cpu'), await analyze('cuda')];
      const names = ({ features }: typeof cpu) => features.map(({ feature }) => feature).sort();
      expect(names(cuda)).toEqual(names(cpu));
      const { baseline, zeroed } = cuda.perplexity as Required<typeof cuda.perplexity>;
      expect(Math.abs(baseline / cpu.perplexity.baseline - 1)).toBeLessThan(0.01);
      expect(zeroed / baseline).toBeGreaterThan(2);
    },
  );
});
