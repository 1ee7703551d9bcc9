import { Device } from '../../lib/device';
import { OptionsError } from '../../lib/errors';
import type { Command, NativeTensor } from '../../lib/native';
import { errorOf, WRONG_VALUES, wrong } from '../support/errors';

let device: Device;
let other: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 1 });
  other = Device.open('cpu', { threads: 1 });
});
afterAll(() => {
  device.dispose();
  other.dispose();
});

describe('views', () => {
  test('outside of the tensor', () => {
    const tensor = device.allocate('f32', [4, 6]);
    const vector = device.allocate('f32', [6]);
    for (const [begin, end] of [
      [-1, 2],
      [3, 7],
      [4, 2],
      [Number.NaN, 2],
      [0, 99],
    ] as const) {
      expect(errorOf(() => tensor.columns(begin, end))).toBeInstanceOf(OptionsError);
      if (end !== 2) expect(errorOf(() => tensor.rows(begin, end))).toBeInstanceOf(OptionsError);
    }
    expect(errorOf(() => vector.columns(0, 1)).message).toMatch(/not a matrix/);
    expect(errorOf(() => tensor.reshape([5, 5])).message).toMatch(/cannot take the shape/);
    for (const [offset, shape, strides] of [
      [24, [1], [1]],
      [-1, [1], [1]],
      [0, [25], [1]],
      [0, [2, 6], [19, 1]],
      [0, [2, 2], [1, 2]],
      [0, [2, 2], [-1, 1]],
      [0, [2], [1, 1]],
      [0, [2 ** 40, 2], [2 ** 50, 1]],
      [2 ** 53 - 1, [1], [1]],
    ] as [number, number[], number[]][]) {
      expect(errorOf(() => tensor.handle.view(offset, shape, strides)).code).toMatch(/SHAPE/);
    }
    vector.dispose();
    tensor.dispose();
  });
});

describe('foreign handles', () => {
  test('are refused wherever a handle goes', () => {
    const tensor = device.allocate('f32', [1, 2]);
    const program = device.record(() => device.run('add', [tensor, tensor, tensor]));
    const { handle } = tensor;
    const data = new Float32Array(2);
    const run = (tensors: unknown[]) => ({ kind: 'run', op: 'add', tensors, attrs: [] });
    for (const fake of [...WRONG_VALUES, program.handle, device.native, Object.create(handle)]) {
      const bad = wrong(fake);
      // null stands for an optional tensor left out, which `add` has none of.
      for (const body of [
        () => device.native.write(bad, data),
        () => device.native.read(bad, data),
        () => device.native.run('add', [handle, bad, handle], []),
        () => device.native.record().run('add', [handle, bad, handle], []),
      ]) {
        expect(errorOf(body).code).toBe('ERR_FEWBIT_ARGUMENT');
      }
      for (const command of [
        { kind: 'write', tensor: bad, data },
        { kind: 'copy', from: handle, to: bad },
        { kind: 'load', tensor: handle, file: bad, offset: 0 },
        ...(fake === program.handle ? [] : [{ kind: 'program', program: bad }]),
        run([handle, bad, handle]),
        bad,
      ]) {
        expect(errorOf(() => device.submit([wrong(command)])).code).toBe('ERR_FEWBIT_ARGUMENT');
      }
    }
    program.dispose();
    tensor.dispose();
  });

  test('are no receivers of methods', () => {
    const tensor = device.allocate('f32', [2]);
    const { view, dispose } = tensor.handle as unknown as Record<string, () => void>;
    for (const receiver of [undefined, {}, device.native, device.native.record(), [], 3]) {
      for (const method of [view, dispose]) {
        expect(() => method?.call(wrong(receiver))).toThrow(TypeError);
      }
    }
    tensor.dispose();
  });

  test('of another device object', async () => {
    const mine = device.from('f32', [1, 2], Float32Array.of(1, 2));
    const theirs = other.from('f32', [1, 2], Float32Array.of(1, 2));
    expect(errorOf(() => device.run('add', [mine, theirs, mine])).message).toMatch(
      /another device/,
    );
    for (const body of [
      () => device.native.run('add', [mine.handle, theirs.handle, mine.handle], []),
      () => device.native.write(theirs.handle, new Float32Array(2)),
      () => device.native.read(theirs.handle, new Float32Array(2)),
      () => device.submit([{ kind: 'copy', from: theirs.handle, to: mine.handle }]),
      () => device.native.record().run('add', [mine.handle, theirs.handle, mine.handle], []),
    ]) {
      expect(errorOf(body).message).toMatch(/another device/);
    }
    const program = other.record(() => other.run('add', [theirs, theirs, theirs]));
    const run: Command = { kind: 'program', program: program.handle };
    expect(errorOf(() => device.submit([run])).message).toMatch(/another device/);
    program.dispose();
    theirs.dispose();
    mine.dispose();
  });
});

test('constructors of native classes cannot be called from outside', () => {
  const { handle } = device.allocate('f32', [1]);
  const NativeClass = (Object.getPrototypeOf(handle) as { constructor: new () => NativeTensor })
    .constructor;
  // An object made that way holds nothing.
  let made: NativeTensor | undefined;
  try {
    made = new NativeClass();
  } catch {
    return;
  }
  expect(errorOf(() => made?.shape).code).toBe('ERR_FEWBIT_DISPOSED');
  expect(errorOf(() => device.native.read(made as NativeTensor, new Float32Array(1))).code).toBe(
    'ERR_FEWBIT_DISPOSED',
  );
});
