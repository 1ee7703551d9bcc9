import { Device } from '../../lib/device';
import * as ops from '../../lib/ops';
import { describeGpu } from '../support/gpu';
import { numbersOf } from '../support/tensors';

describeGpu('BitLinear on CUDA', () => {
  // One row, few and many rows have kernels of their own, and many a choice of tiles.
  test.each([
    [20, 12000],
    [300, 1000],
    [2048, 2560],
    [2048, 3200],
    [2048, 4800],
    [2048, 13824],
  ])('%i rows x %i columns have the bits that a row alone has', (m, n) => {
    const device = Device.open('cuda');
    const k = 200;
    device.scope(() => {
      const gamma = device.from('f32', [1], Float32Array.of(0.5));
      const codes = device.empty('u8', [n, ops.bitnetRowBytes(k)]);
      const original = ops.fillRandom(device.empty('bf16', [n, k]), 1);
      device.run('bitnet_ternarize', [original, gamma, codes]);
      const scales = ops.fillRandom(device.empty('f32', [n]), 2);
      const x = ops.fillRandom(device.empty('bf16', [m, k]), 3);
      const all = ops.bitLinear(x, { codes, scales });
      for (const row of [0, 1, m >> 1, m - 1]) {
        const alone = ops.bitLinear(x.rows(row, row + 1), { codes, scales });
        expect(numbersOf(all.rows(row, row + 1))).toEqual(numbersOf(alone));
        expect(numbersOf(alone).some((value) => value !== 0)).toBe(true);
      }
    });
    device.dispose();
  });
});
