import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '../../lib';
import { LinearGptq } from '../../lib/quant/gptq';
import { expectedIn, goldenFolder, relativeError } from '../support/golden';
import { GPTQ_MODELS, greedy } from './golden-models';

/** More of the same, too large to commit: they are used where they lie beside the checkout. */
const BESIDE = [
  'gptq-2bit-g32-sym-v1',
  'gptq-3bit-g32-asym-v2',
  'gptq-3bit-g32-sym-v1',
  'gptq-4bit-g128-asym-v1',
  'gptq-4bit-g32-asym-v2',
  'gptq-4bit-g32-sym-v1',
  'gptq-8bit-g32-asym-v2',
];

const shared = join(__dirname, '../../../shared/data/golden');

function checkpointTests(folder: string): void {
  test('logits as computed by an independent implementation', async () => {
    const { inputIds, logits, logitsShape } = expectedIn(folder);
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const layers = model.transformer.modules.filter((module) => module instanceof LinearGptq);
    // q, k, v and gate, up are stacked: their groups and orders agree.
    expect(layers).toHaveLength(8);
    const result = await model.forward(inputIds);
    expect(result.shape).toEqual(logitsShape);
    expect(relativeError(result.logits, logits)).toBeLessThan(1e-3);
  });

  test('greedy continuation as computed by an independent implementation', async () => {
    const { inputIds, greedyIds } = expectedIn(folder);
    const [prompt] = inputIds as [number[]];
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const tokens = await greedy(model, prompt, greedyIds.length - prompt.length);
    expect([...prompt, ...tokens]).toEqual(greedyIds);
  });
}

describe.each(GPTQ_MODELS)('%s on the CPU', (name) => checkpointTests(goldenFolder(name)));

const present = existsSync(shared);
(present ? describe.each : describe.skip.each)(BESIDE)(
  present ? '%s on the CPU' : '%s on the CPU (not in ../shared/data/golden)',
  (name) => checkpointTests(join(shared, name)),
);
