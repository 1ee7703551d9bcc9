import { AutoModelForCausalLM, calibrateKvCache, quantize } from '../../lib';
import { smallWindows, writeSmallModel } from '../quant/rptq/support/small-models';
import { Folders } from '../support/checkpoints';

const folders = new Folders();
afterAll(() => folders.dispose());

const LENGTH = 20;
const windows = [...smallWindows(3, LENGTH), ...smallWindows(1, LENGTH - 4)];
const ids = (count: number): number[] => smallWindows(1, count)[0] as number[];

const emitted: string[] = [];
beforeEach(() => {
  emitted.length = 0;
  jest.spyOn(process, 'emitWarning').mockImplementation((warning, options) => {
    expect(options).toEqual({ code: 'FEWBIT_CALIBRATED_LENGTH' });
    emitted.push(String(warning));
  });
});
afterEach(() => jest.restoreAllMocks());

let original: string;
let quantized: string;
beforeAll(async () => {
  [original, quantized] = [folders.path(), folders.path()];
  await writeSmallModel(original, 'opt');
  const config = { method: 'rptq', config: 'W4A4KV' } as const;
  await quantize(original, config, { out: quantized, device: 'cpu', dataset: windows });
});

test('a sequence longer than the windows of calibration brings one warning', async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(quantized, { device: 'cpu' });
  await model.forward([ids(LENGTH), ids(3)]);
  expect(emitted).toEqual([]);
  await model.forward([ids(3), ids(LENGTH + 1)]);
  expect(emitted).toEqual([
    expect.stringMatching(/at most 20 tokens, but a sequence has 21.*seqlen/),
  ]);
  await model.engine.nll([ids(LENGTH + 5)]);
  expect(emitted).toHaveLength(1);
});

test('so does one that grows beyond them, and no other', async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(quantized, { device: 'cpu' });
  const generate = (maxNewTokens: number) =>
    model.engine.generateAll([ids(LENGTH - 4)], { maxNewTokens, temperature: 0 });
  // The last token never goes into the cache.
  await generate(5);
  expect(emitted).toEqual([]);
  await generate(6);
  expect(emitted).toEqual([expect.stringMatching(/a sequence has 21/)]);
});

test('grids that are made beside a model know the length, too', async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(original, { device: 'cpu' });
  const kvGrids = await calibrateKvCache(model.transformer, windows, { bits: 4 });
  expect(kvGrids.calibratedLength).toBe(LENGTH);
  await using coded = await AutoModelForCausalLM.fromPretrained(original, {
    device: 'cpu',
    kvGrids,
  });
  await coded.forward([ids(LENGTH + 1)]);
  expect(emitted).toHaveLength(1);
});

test.each([16, 8] as const)(
  'a cache of %i bits of its own has nothing to warn of',
  async (kvBits) => {
    await using model = await AutoModelForCausalLM.fromPretrained(quantized, {
      device: 'cpu',
      kvBits,
    });
    await model.forward([ids(LENGTH + 10)]);
    expect(emitted).toEqual([]);
  },
);
