import { AutoModelForCausalLM, memoryNeeds, type QuantizationConfig } from '../../lib';
import { sampleFolder } from '../support/golden';
import { heldoutIds, SAMPLE_NAMES } from '../support/samples';

const ids = heldoutIds();
const methods: (QuantizationConfig | undefined)[] = [undefined, { method: 'llm.int8' }];
const cases = SAMPLE_NAMES.flatMap((name) => methods.map((method) => [name, method] as const));

test.each(cases)('%s with %j takes what was foretold', async (name, quantization) => {
  const sizes = { batch: 3, context: 400 };
  await using model = await AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
    device: 'cpu',
    maxBatch: sizes.batch,
    maxContext: sizes.context,
    ...(quantization ? { quantization } : {}),
  });
  const needs = memoryNeeds(model.transformer, sizes);
  const afterLoading = model.device.memory().used;
  const prompts = [0, 1, 2].map((i) => ids.subarray(i * 380, (i + 1) * 380));
  await model.engine.generateAll(prompts, { maxNewTokens: 16 });
  // The counters of `int8Share` are 16 bytes.
  expect(afterLoading - needs.weights).toBe(16);
  expect(model.engine.usage.cacheBytes).toBe(needs.kvCache);
  const activations = model.device.memory().peak - afterLoading - needs.kvCache;
  expect(needs.activations / activations).toBeGreaterThan(0.8);
  expect(needs.activations / activations).toBeLessThan(1.25);
  expect(needs.total).toBe(needs.weights + needs.kvCache + needs.activations);
});
