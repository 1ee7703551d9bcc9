import { AutoModelForCausalLM, type QuantizeConfig, quantize } from '../../../lib';
import { Folders } from '../../support/checkpoints';
import { readTensors, relativeError } from '../../support/golden';
import { type Architecture, smallWindows, writeSmallModel } from './support/small-models';

const folders = new Folders();
afterAll(() => folders.dispose());

const windows = smallWindows(4, 48);

async function logits(folder: string): Promise<Float32Array> {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  return (await model.forward(smallWindows(2, 24))).logits;
}

/**
 * Weights that a grid of few bits holds without error: only the reordering is left. (Columns that are
 * multiplied, as by `equalize`, do not stay on such a grid.)
 */
describe.each<Architecture>(['llama', 'opt'])('%s', (architecture) => {
  test.each([
    ['W4A16', 4, {}],
    ['W4A16', 4, { clusterSizes: 'balanced', groupSize: 32 }],
    ['W4A16', 4, { trueSequential: false }],
  ] as const)(
    '%s of %i-bit weights, %o: reordered but the same function',
    async (config, bits, how) => {
      const [original, out] = [folders.path(), folders.path()];
      await writeSmallModel(original, architecture, { weights: 'two-valued', bits });
      const rptq: QuantizeConfig = { method: 'rptq', config, mse: 0, equalize: false, ...how };
      await quantize(original, rptq, { out, device: 'cpu', dataset: windows });
      const stored = readTensors(`${out}/model.safetensors`);
      const orders = [...stored].filter(([name]) => name.endsWith('_order'));
      expect(orders).toHaveLength(2 * (architecture === 'opt' ? 6 : 8));
      for (const [, { bytes }] of orders) {
        const order = [...new Int32Array(bytes.buffer)];
        const sorted = [...order].sort((a, b) => a - b);
        expect(sorted).toEqual([...order.keys()]);
        expect(order).not.toEqual(sorted);
      }
      const expected = await logits(original);
      expect(relativeError(await logits(out), expected)).toBeLessThan(1e-4);
      const worst = (await logits(out)).reduce(
        (most, value, i) => Math.max(most, Math.abs(value - (expected[i] as number))),
        0,
      );
      expect(worst).toBeLessThan(1e-4);
    },
  );
});
