import { Device } from '../../lib/device';
import * as ops from '../../lib/ops';
import { LinearGptq } from '../../lib/quant/gptq';
import { GPTQ_MODELS } from '../models/golden-models';
import { describeGpu } from '../support/gpu';
import { normals, numbersOf, tensorOf } from '../support/tensors';
import { goldenSuite } from './golden-suite';

const GROUP = 128;

/** A weight of random codes, N x K. */
function randomWeight(device: Device, bits: ops.GptqBits, n: number, k: number): ops.GptqWeight {
  let state = 12345;
  const bytes = (count: number, limit: number) =>
    Float64Array.from({ length: count }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 16) % limit;
    });
  const plane = (width: number) => {
    const shape = [n, ops.gptqPlaneBytes(k, width)] as const;
    return tensorOf(device, 'u8', [...shape], bytes(shape[0] * shape[1], 256));
  };
  const groups = Math.ceil(k / GROUP);
  const scales = normals(n * groups, 3, 0.01).map(Math.abs);
  return {
    bits,
    groupSize: GROUP,
    codes: plane(ops.gptqLowWidth(bits)),
    high: bits === 3 ? plane(1) : undefined,
    scales: tensorOf(device, 'f16', [n, groups], scales),
    zeros: tensorOf(device, 'u8', [n, groups], bytes(n * groups, 2 ** bits)),
  };
}

describeGpu('on CUDA', () => {
  describe.each(GPTQ_MODELS)('%s', (name) => {
    goldenSuite(name, (model) => {
      const layers = model.transformer.modules.filter((module) => module instanceof LinearGptq);
      expect(layers.length).toBeGreaterThan(0);
    });
  });

  // One for each kernel: few rows, more, and prefill.
  describe.each([1, 8, 16, 40, 64, 200, 300])('%i rows', (rows) => {
    test.each(ops.GPTQ_BITS)(
      'of %i bits: a recorded call gives what an eager one does',
      async (bits) => {
        const [n, k] = [384, 512];
        const device = Device.open('cuda');
        const weight = randomWeight(device, bits, n, k);
        const x = tensorOf(device, 'f16', [rows, k], normals(rows * k, 1));
        const out = device.allocate('f16', [rows, n]);
        const program = device.record(() => {
          ops.linearGptq(x, weight, { into: out });
        });
        await device.submit([{ kind: 'program', program: program.handle }]);
        const eager = numbersOf(ops.linearGptq(x, weight));
        expect(eager.every((value) => Number.isFinite(value))).toBe(true);
        expect(numbersOf(out)).toEqual(eager);
        program.dispose();
        device.dispose();
      },
    );
  });

  // So many outputs that tiles go in whole rounds of blocks and a rest, each its own way.
  test.each(ops.GPTQ_BITS)('of %i bits: rows among many are what they are alone', (bits) => {
    const [n, rows] = [17152, 256];
    // Half a tile is left over, where rows of 3 bits would be too ill aligned for it.
    const k = bits === 3 ? 512 : 576;
    const device = Device.open('cuda');
    const weight = randomWeight(device, bits, n, k);
    const values = normals(rows * k, 1);
    const all = numbersOf(
      ops.linearGptq(tensorOf(device, 'f16', [rows, k], values), weight, { dtype: 'f32' }),
    );
    for (const row of [0, 255]) {
      const x = tensorOf(device, 'f16', [1, k], values.slice(row * k, (row + 1) * k));
      const alone = numbersOf(ops.linearGptq(x, weight, { dtype: 'f32' }));
      const among = all.slice(row * n, (row + 1) * n);
      const size = Math.hypot(...alone.map((value) => value / Math.sqrt(n)));
      const worst = among.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - (alone[i] as number))),
        0,
      );
      expect(size).toBeGreaterThan(0);
      expect(worst / size).toBeLessThan(1e-2);
    }
    device.dispose();
  });
});
