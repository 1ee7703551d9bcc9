import { Device } from '../../lib/device';
import { OptionsError } from '../../lib/errors';
import { type Command, native } from '../../lib/native';
import { errorOf, WRONG_VALUES, wrong } from '../support/errors';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 1 });
});
afterAll(() => device.dispose());

describe('Device.open', () => {
  test.each(['gpu', 'cuda:', 'cuda:-1', 'cuda:x', '', 'CPU', 'cuda:0 '])('%p', (name) => {
    expect(errorOf(() => Device.open(wrong(name)))).toBeInstanceOf(OptionsError);
  });

  test.each([-1, 0.5, Number.NaN, 1025, '2'])('threads %p', (threads) => {
    expect(errorOf(() => Device.open('cpu', { threads: wrong(threads) })).message).toMatch(
      'threads',
    );
  });

  test('natively', () => {
    for (const value of WRONG_VALUES) {
      expect(errorOf(() => native().openDevice(wrong(value), 1)).code).toMatch(/ARGUMENT/);
      if (typeof value === 'number') continue;
      expect(errorOf(() => native().openDevice('cpu', wrong(value))).code).toMatch(/ARGUMENT/);
    }
    expect(errorOf(() => native().openDevice('cuda:9999', 1)).code).toMatch(/ARGUMENT|DEVICE/);
  });
});

describe('allocate', () => {
  test.each([
    [[-1]],
    [[1.5]],
    [[Number.NaN]],
    [[1, 1, 1, 1, 1]],
    [[2 ** 60]],
    [['3']],
    [[2 ** 40, 2 ** 40]],
  ])('shape %j', (shape) => {
    expect(errorOf(() => device.allocate('f32', wrong(shape))).code).toMatch(
      /OPTIONS|SHAPE|MEMORY/,
    );
    expect(errorOf(() => device.empty('f32', wrong(shape))).code).toMatch(/OPTIONS|SHAPE|MEMORY/);
  });

  test('natively', () => {
    for (const value of WRONG_VALUES) {
      expect(errorOf(() => device.native.allocate(wrong(value), [2])).code).toMatch(/ARGUMENT/);
      if (Array.isArray(value)) continue;
      expect(errorOf(() => device.native.allocate('f32', wrong(value))).code).toMatch(/ARGUMENT/);
    }
    for (const extent of [-1, 0.5, 'x', null, 2 ** 53, Infinity]) {
      expect(errorOf(() => device.native.allocate('f32', [wrong(extent)])).code).toMatch(
        /ARGUMENT|SHAPE/,
      );
    }
  });

  test('more than there is, in words that help', () => {
    const error = errorOf(() => device.allocate('f32', [2 ** 45]));
    expect(error.code).toBe('ERR_FEWBIT_OUT_OF_MEMORY');
    expect(error.message).toMatch(/140737488355328 bytes.*available/);
  });
});

describe('write and read', () => {
  test('arrays of another type or length', () => {
    const tensor = device.allocate('f32', [2, 3]);
    for (const data of [
      new Float32Array(5),
      new Float64Array(6),
      new Int32Array(6),
      new Uint8Array(24),
      new DataView(new ArrayBuffer(24)),
    ]) {
      const error = errorOf(() => tensor.write(wrong(data)));
      expect(error).toBeInstanceOf(OptionsError);
      expect(error.message).toMatch(/f32\[2, 3\] takes Float32Array\(6\)/);
    }
    for (const value of WRONG_VALUES) {
      expect(errorOf(() => device.native.write(tensor.handle, wrong(value))).code).toMatch(
        /ARGUMENT/,
      );
      expect(errorOf(() => device.native.read(tensor.handle, wrong(value))).code).toMatch(
        /ARGUMENT/,
      );
    }
    tensor.dispose();
  });

  test('wrong values as data', () => {
    const tensor = device.allocate('f32', [2]);
    for (const value of WRONG_VALUES) {
      expect(errorOf(() => tensor.write(wrong(value)))).toBeInstanceOf(OptionsError);
    }
    tensor.dispose();
  });

  test('memory shared between threads', async () => {
    const tensor = device.allocate('f32', [2]);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    expect(errorOf(() => tensor.write(shared)).message).toMatch(/SharedArrayBuffer/);
    expect(errorOf(() => device.native.read(tensor.handle, shared)).message).toMatch(
      /SharedArrayBuffer/,
    );
    const commands: Command[] = [{ kind: 'read', tensor: tensor.handle, into: shared }];
    expect(errorOf(() => device.submit(commands)).message).toMatch(/SharedArrayBuffer/);
    tensor.dispose();
  });

  test('a detached array', () => {
    const tensor = device.allocate('f32', [2]);
    const data = new Float32Array(2);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(errorOf(() => tensor.write(data)).code).toMatch(/OPTIONS|SHAPE/);
    expect(errorOf(() => device.native.read(tensor.handle, data)).code).toMatch(/SHAPE/);
    tensor.dispose();
  });

  test('a view with gaps, and integers as floats', () => {
    const tensor = device.allocate('i8', [4, 4]);
    const columns = tensor.columns(1, 3);
    expect(errorOf(() => columns.read()).message).toMatch(/gaps/);
    expect(errorOf(() => tensor.readFloats()).message).toMatch(/does not hold floats/);
    columns.dispose();
    tensor.dispose();
  });
});
