import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Device } from '../../lib/device';
import { native } from '../../lib/native';
import { errorOf } from '../support/errors';

const disposed = { code: 'ERR_FEWBIT_DISPOSED' };
const folder = mkdtempSync(join(tmpdir(), 'fewbit-file-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('a file that became shorter after it was mapped is refused', async () => {
  using device = Device.open('cpu', { threads: 1 });
  const path = join(folder, 'weights');
  writeFileSync(path, Buffer.alloc(1 << 16, 1));
  const file = native().openFile(path);
  const tensor = device.allocate('u8', [1 << 15]);
  const load = () =>
    device.submit([{ kind: 'load', tensor: tensor.handle, file, offset: 1 << 15 }]);
  await load();
  expect((tensor.read() as Uint8Array).every((byte) => byte === 1)).toBe(true);
  truncateSync(path, 100);
  expect(errorOf(load)).toMatchObject({
    code: 'ERR_FEWBIT_FILE',
    message: expect.stringMatching(/not within its 100 bytes.*truncated/) as string,
  });
  file.dispose();
  file.dispose();
  expect(errorOf(load)).toMatchObject(disposed);
  expect(errorOf(() => file.size)).toMatchObject(disposed);
});

test('what is no file, or lies outside of it', () => {
  using device = Device.open('cpu', { threads: 1 });
  const path = join(folder, 'small');
  writeFileSync(path, Buffer.alloc(8));
  expect(() => native().openFile(join(folder, 'none'))).toThrow(/No such file/);
  expect(() => native().openFile(folder)).toThrow(/not a regular file/);
  const file = native().openFile(path);
  const tensor = device.allocate('u8', [4]);
  for (const offset of [-1, 5, 2 ** 53 - 1, 0.5, Number.NaN, '0', undefined]) {
    const command = { kind: 'load', tensor: tensor.handle, file, offset };
    expect(errorOf(() => device.submit([command as never]))).toMatchObject({
      code: expect.stringMatching(/ARGUMENT|FILE/) as string,
    });
  }
  file.dispose();
});
