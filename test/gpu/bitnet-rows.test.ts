import { Device } from '../../lib/device';
import * as ops from '../../lib/ops';
import { describeGpu } from '../support/gpu';
import { numbersOf } from '../support/tensors';

describeGpu('BitLinear on CUDA', () => {
  // One row, few and many rows have kernels of their own, and many a choice of tiles.
  test.each([
    [20, 12000, 200],
    [300, 1000, 200],
    [2048, 2560, 200],
    [2048, 3200, 200],
    [2048, 4800, 200],
    [2048, 13824, 200],
    // Weights of a row alone that do not fit the shared memory of a block at once.
    [9, 35000, 200],
    [9, 15000, 4160],
    [9, 3600, 28672],
  ])('%i rows x %i columns of %i have the bits that a row alone has', (m, n, k) => {
    const device = Device.open('cuda');
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
