import { Device } from '../../lib/device';
import { FewbitError, OptionsError } from '../../lib/errors';
import { type Command, type NativeTensor, native } from '../../lib/native';

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

/** Anything at all, where the types would not let it through. */
const wrong = (value: unknown) => value as never;

/** Runs `body` and returns the error it must throw, which must be one of the library's. */
function errorOf(body: () => unknown): FewbitError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(FewbitError);
    return error as FewbitError;
  }
  throw new Error('nothing was thrown');
}

const WRONG_VALUES = [undefined, null, 0, Number.NaN, 'x', {}, [], () => 0, Symbol('x'), 1n];

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
