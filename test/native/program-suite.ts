import { Device, type DeviceName } from '../../lib/device';
import { OptionsError } from '../../lib/errors';
import type { Command, DType } from '../../lib/native';
import * as ops from '../../lib/ops';
import type { Tensor } from '../../lib/tensor';
import { normals, numbersOf, tensorOf } from '../support/tensors';

const [ROWS, WIDTH] = [5, 64];

/** Recorded programs against the same ops run one by one. */
export function programSuite(name: DeviceName, hidden: DType): void {
  let device: Device;
  beforeAll(() => {
    device = Device.open(name);
  });
  afterAll(() => device?.dispose());

  const random = (shape: number[], seed: number, scale = 1) => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    return tensorOf(device, hidden, shape, normals(count, seed, scale));
  };

  /** A block with norms, products of both kinds and an in-place residual. */
  function block(x: Tensor, weights: Tensor[], int8: { codes: Tensor; scales: Tensor }): Tensor {
    const [gain, wide, narrow] = weights as [Tensor, Tensor, Tensor];
    const residual = ops.add(x, x);
    const normed = ops.rmsNorm(x, gain, { eps: 1e-5, residual });
    const up = ops.linear(normed, wide, undefined);
    const gated = ops.siluMul(up.columns(0, 2 * WIDTH), up.columns(2 * WIDTH, 4 * WIDTH));
    const down = ops.linear(gated, narrow, undefined);
    const input = ops.int8Quantize(down, { threshold: 2, mode: 'paper' });
    return ops.add(ops.linearInt8(input, int8, { mode: 'paper' }), residual);
  }

  function setUp() {
    const weights = [
      random([WIDTH], 1),
      random([4 * WIDTH, WIDTH], 2, 0.2),
      random([WIDTH, 2 * WIDTH], 3, 0.2),
    ];
    const int8 = {
      codes: tensorOf(device, 'i8', [WIDTH, WIDTH], normals(WIDTH * WIDTH, 4, 30).map(Math.round)),
      scales: tensorOf(device, 'f32', [WIDTH], new Float64Array(WIDTH).fill(0.5)),
    };
    return { x: random([ROWS, WIDTH], 5), weights, int8 };
  }

  test('a program gives what its ops give, at every replay', async () => {
    const { x, weights, int8 } = setUp();
    const out = device.allocate(hidden, [ROWS, WIDTH]);
    const program = device.record(() => {
      device.run('cast', [block(x, weights, int8), out]);
    });
    expect(program.operations).toBe(9);
    for (const seed of [5, 6, 7]) {
      const fresh = normals(ROWS * WIDTH, seed);
      const given = tensorOf(device, hidden, [ROWS, WIDTH], fresh);
      const commands: Command[] = [
        { kind: 'copy', from: given.handle, to: x.handle },
        { kind: 'program', program: program.handle },
      ];
      await device.submit(commands);
      const eager = device.scope(() => numbersOf(block(given, weights, int8)));
      expect(numbersOf(out)).toEqual(eager);
      expect(eager.every((value) => Number.isFinite(value))).toBe(true);
    }
    program.dispose();
  });

  test('activations share memory, and so do programs', async () => {
    const x = random([256, WIDTH], 1);
    const bytes = x.byteLength;
    const out = device.allocate(hidden, [256, WIDTH]);
    const chain = (length: number) =>
      device.record(() => {
        let sum = ops.add(x, x);
        for (let i = 0; i < length; i++) sum = ops.add(sum, x);
        ops.add(sum, x, out);
      });
    const long = chain(20);
    expect(long.arenaBytes).toBeLessThan(3 * bytes + 4096);
    const before = device.memory().used;
    const other = chain(10);
    expect(device.memory().used).toBe(before);
    await device.submit([
      { kind: 'program', program: other.handle },
      { kind: 'program', program: long.handle },
    ]);
    const expected = device.scope(() => {
      let sum = ops.add(x, x);
      for (let i = 0; i < 21; i++) sum = ops.add(sum, x);
      return numbersOf(sum);
    });
    expect(numbersOf(out)).toEqual(expected);
    other.dispose();
    long.dispose();
  });

  test('programs are timed', async () => {
    const x = random([4, WIDTH], 1);
    const program = device.record(() => ops.add(x, x, x));
    const into = new Float64Array(5).fill(-1);
    const flush = device.allocate('u8', [1 << 16]);
    await device.submit([{ kind: 'time', program: program.handle, flush: flush.handle, into }]);
    expect(into.every((milliseconds) => milliseconds >= 0 && milliseconds < 1e3)).toBe(true);
    program.dispose();
  });

  test('what an op cannot take is refused when it is recorded', () => {
    const x = random([2, 3], 1);
    const y = random([3, 2], 1);
    const ids = tensorOf(device, 'i32', [2], [0, 1]);
    for (const [op, tensors, attrs, code, message] of [
      ['nonsense', [x], [], 'UNKNOWN_OP', /no op named 'nonsense'/],
      ['add', [x, x], [], 'ARGUMENT', /add takes 3 tensors and 0 attributes, got 2 and 0/],
      ['add', [x, x, x], [1], 'ARGUMENT', /got 3 and 1/],
      ['add', [x, undefined, x], [], 'ARGUMENT', /add: b is missing/],
      ['add', [ids, ids, ids], [], 'DTYPE', /add: a must be f32 or f16 or bf16.*i32\[2\]/],
      ['linear', [x, y, undefined, x], [0, 0], 'SHAPE', /linear: weight must have shape \[\*, 3\]/],
      ['int8_quantize', [x, x, ids, ids, ids, undefined], [6, 0], 'DTYPE', /codes must be i8/],
    ] as [string, Tensor[], number[], string, RegExp][]) {
      const expected = { code: `ERR_FEWBIT_${code}`, message: expect.stringMatching(message) };
      const thrown = (body: () => unknown) => {
        try {
          body();
        } catch (error) {
          return error;
        }
        return 'nothing thrown';
      };
      expect(thrown(() => device.run(op, tensors, attrs))).toMatchObject(expected);
      expect(thrown(() => device.record(() => device.run(op, tensors, attrs)))).toMatchObject(
        expected,
      );
      const handles = tensors.map((tensor) => tensor?.handle ?? null);
      const command: Command = { kind: 'run', op, tensors: handles, attrs };
      expect(thrown(() => device.submit([command]))).toMatchObject(expected);
    }
    expect(device.recording).toBe(false);
  });

  test('values inside of a recording are not there outside', () => {
    const x = random([2, 3], 1);
    expect(() => device.record(() => ops.add(x, x).read())).toThrow(/still being recorded/);
    expect(() => device.record(() => ops.add(device.empty(hidden, [2, 3]), x))).toThrow(
      /read before any recorded op has written it/,
    );
    expect(() => device.record(() => device.record(() => undefined))).toThrow(/already recording/);
    const recorder = device.native.record();
    recorder.finish().dispose();
    expect(() => recorder.run('add', [x.handle, x.handle, x.handle], [])).toThrow(/already/);
    expect(() => recorder.finish()).toThrow(/already/);
    expect(() => tensorOf(device, 'f32', [2], [1])).toThrow(OptionsError);
    expect(numbersOf(ops.add(x, x))).toEqual(numbersOf(x).map((value) => 2 * value));
  });

  test('jobs run in order, and end at the step that fails', async () => {
    const x = random([2, 3], 1);
    const [first, second] = [x.read(), x.read()].map((array) => array.fill(0 as never));
    const values = normals(6, 9).map((value) => Math.round(value) + 0);
    const data = tensorOf(device, hidden, [2, 3], values).read();
    const job = device.submit([
      { kind: 'write', tensor: x.handle, data },
      { kind: 'read', tensor: x.handle, into: first as never },
      { kind: 'run', op: 'add', tensors: [x.handle, x.handle, x.handle], attrs: [] },
      { kind: 'read', tensor: x.handle, into: second as never },
    ]);
    // What is written was copied when it was submitted.
    data.fill(0 as never);
    await job;
    const numbers = (array: unknown) =>
      numbersOf(device.empty(hidden, [2, 3]).write(array as never));
    expect(numbers(first)).toEqual([...values]);
    expect(numbers(second)).toEqual([...values].map((value) => 2 * value));
  });
}
