import { Device } from '../../lib/device';
import { programSuite } from './program-suite';

describe('on the CPU', () => programSuite('cpu', 'f32'));

test('an index outside of its range is refused when it is found', async () => {
  using device = Device.open('cpu', { threads: 1 });
  const x = device.from('f32', [2, 3], new Float32Array(6));
  const columns = device.from('i32', [2], Int32Array.of(0, 3));
  const out = device.allocate('f32', [2, 2]);
  expect(() => device.run('gather_columns', [x, columns, out])).toThrow(/columns\[1\] is 3/);
  const seen = new Float32Array(6).fill(7);
  const tensors = [x.handle, columns.handle, out.handle];
  const job = device.submit([
    { kind: 'run', op: 'gather_columns', tensors, attrs: [] },
    { kind: 'read', tensor: x.handle, into: seen },
  ]);
  await expect(job).rejects.toMatchObject({ code: 'ERR_FEWBIT_RANGE' });
  expect([...seen]).toEqual(new Array(6).fill(7));
  await device.submit([{ kind: 'read', tensor: x.handle, into: seen }]);
  expect([...seen]).toEqual(new Array(6).fill(0));
});

test('the number of threads changes no bit', () => {
  const results = [1, 2, 5].map((threads) => {
    using device = Device.open('cpu', { threads });
    const weight = device.allocate('f32', [300, 257]);
    const x = device.allocate('f32', [33, 257]);
    device.run('fill_random', [weight], [1, 1]);
    device.run('fill_random', [x], [2, 1]);
    const out = device.allocate('f32', [33, 300]);
    device.run('linear', [x, weight, undefined, out], [0, 0]);
    return out.read();
  });
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});
