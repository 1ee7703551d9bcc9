import { Device, openCheckpoint } from '../../lib';
import { Transformer } from '../../lib/models/transformer';
import { openSource } from '../../lib/pretrained/auto';
import { GptqRecipe } from '../../lib/pretrained/gptq/recipe';
import { HiddenStates } from '../../lib/pretrained/layerwise/hidden-states';
import { quantizeStages } from '../../lib/pretrained/layerwise/quantize-stages';
import { WorkFolder } from '../../lib/pretrained/layerwise/work-folder';
import { GptqConfig } from '../../lib/quant';
import { Folders } from '../support/checkpoints';
import { SMALL_VOCAB, writeSmallLlama } from '../support/small-llama';

const folders = new Folders();
let device: Device;
beforeAll(() => {
  device = Device.open('cpu');
});
afterAll(() => {
  device.dispose();
  folders.dispose();
});

test('only a layer of the model is in memory at a time', async () => {
  const folder = folders.path();
  await writeSmallLlama(folder, { hidden: 128, headDim: 64, inner: 256, layers: 24 });
  const checkpoint = await openCheckpoint(folder);
  const source = await openSource(checkpoint);
  const before = device.memory().used;
  const model = new Transformer({ device, config: checkpoint.config, source });
  const recipe = new GptqRecipe(new GptqConfig({ bits: 4, groupSize: 32 }));
  const identity = { version: 0, model: '', config: {}, windows: null };
  const work = await WorkFolder.open(folders.path(), identity, { restart: false });
  const windows = Array.from({ length: 6 }, (_, w) =>
    Array.from({ length: 48 }, (_, i) => (w * 13 + i * 7) % SMALL_VOCAB),
  );
  const plan = recipe.plan(model);
  const stages = await quantizeStages(recipe, { checkpoint, model, plan, windows, work });
  expect(stages.flatMap(({ layers }) => layers)).toHaveLength(24 * 7);
  expect(device.memory().peak - before).toBeLessThan(model.bytes / 4);
  model.dispose();
  source.dispose();
  expect(device.memory().used).toBe(before);
});

describe('hidden states', () => {
  test.each([
    ['on the device', Number.POSITIVE_INFINITY],
    ['in memory of the host', 0],
  ])('%s', (_, most) => {
    device.scope(() => {
      using states = new HiddenStates(device, 'f16', [2, 3], 4, most);
      const used = device.memory().used;
      const values = [Uint16Array.from({ length: 8 }, (_, i) => i), new Uint16Array(12).fill(7)];
      for (const [i, data] of values.entries()) {
        states.set(i, device.empty('f16', [i + 2, 4]).write(data));
      }
      const copy = states.copy(0);
      expect([copy.shape, copy.read()]).toEqual([[2, 4], values[0]]);
      copy.write(new Uint16Array(8));
      expect(states.copy(0).read()).toEqual(values[0]);
      states.set(0, copy);
      expect(states.copy(0).read()).toEqual(new Uint16Array(8));
      expect(states.copy(1).read()).toEqual(values[1]);
      expect(device.memory().used).toBeGreaterThan(used);
      return undefined;
    });
    expect(HiddenStates.bytes('f16', [2, 3], 4)).toBe(40);
  });
});
