import { AutoModelForCausalLM } from '../../lib';
import { Device } from '../../lib/device';
import { errorOf } from '../support/errors';
import { goldenFolder } from '../support/golden';

const disposed = { code: 'ERR_FEWBIT_DISPOSED' };

test('a disposed tensor', () => {
  using device = Device.open('cpu', { threads: 1 });
  const tensor = device.allocate('f32', [2, 2]);
  const { handle } = tensor;
  const before = device.memory().used;
  tensor.dispose();
  tensor.dispose();
  expect(device.memory().used).toBe(before - 16);
  for (const body of [
    () => tensor.handle,
    () => tensor.read(),
    () => tensor.readFloats(),
    () => tensor.write(new Float32Array(4)),
    () => tensor.rows(0, 1),
    () => tensor.columns(0, 1),
    () => tensor.reshape([4]),
    () => device.run('add', [tensor, tensor, tensor]),
    () => device.record(() => device.run('add', [tensor, tensor, tensor])),
    () => handle.shape,
    () => handle.dtype,
    () => handle.byteLength,
    () => handle.view(0, [1], [1]),
    () => device.native.read(handle, new Float32Array(4)),
    () => device.native.write(handle, new Float32Array(4)),
    () => device.native.run('add', [handle, handle, handle], []),
    () => device.native.record().run('add', [handle, handle, handle], []),
    () => device.submit([{ kind: 'read', tensor: handle, into: new Float32Array(4) }]),
  ]) {
    expect(errorOf(body)).toMatchObject(disposed);
  }
  expect([tensor.dtype, tensor.shape, `${tensor}`]).toEqual(['f32', [2, 2], 'f32[2, 2]']);
});

test('views, programs and jobs keep what they use', async () => {
  using device = Device.open('cpu', { threads: 1 });
  const tensor = device.from('f32', [2, 2], Float32Array.of(1, 2, 3, 4));
  const row = tensor.rows(1, 2);
  const program = device.record(() => device.run('add', [tensor, tensor, tensor]));
  const into = new Float32Array(4);
  const job = device.submit([{ kind: 'read', tensor: tensor.handle, into }]);
  tensor.dispose();
  await job;
  expect([...into]).toEqual([1, 2, 3, 4]);
  await device.submit([{ kind: 'program', program: program.handle }]);
  expect([...(row.read() as Float32Array)]).toEqual([6, 8]);
  row.dispose();
  program.dispose();
  expect(device.memory().used).toBe(0);
});

test('a recording that fails keeps nothing', () => {
  using device = Device.open('cpu', { threads: 1 });
  const tensor = device.allocate('f32', [2, 2]);
  expect(() =>
    device.record(() => {
      device.run('add', [tensor, tensor, tensor]);
      throw new RangeError('in the middle');
    }),
  ).toThrow(RangeError);
  tensor.dispose();
  expect(device.memory().used).toBe(0);
});

test('a disposed program', () => {
  using device = Device.open('cpu', { threads: 1 });
  const x = device.allocate('f32', [2]);
  const program = device.record(() => device.run('add', [x, x, x]));
  const { handle } = program;
  program.dispose();
  program.dispose();
  for (const body of [
    () => program.handle,
    () => handle.operations,
    () => handle.arenaBytes,
    () => device.submit([{ kind: 'program', program: handle }]),
  ]) {
    expect(errorOf(body)).toMatchObject(disposed);
  }
  expect(program.operations).toBe(1);
});

test('a disposed device', async () => {
  const device = Device.open('cpu', { threads: 1 });
  const { native: handle } = device;
  const tensor = device.allocate('f32', [2]);
  const recorder = handle.record();
  const program = device.record(() => device.run('add', [tensor, tensor, tensor]));
  device.dispose();
  device.dispose();
  for (const body of [
    () => device.allocate('f32', [1]),
    () => device.empty('f32', [1]),
    () => device.from('f32', [1], new Float32Array(1)),
    () => device.run('add', [tensor, tensor, tensor]),
    () => device.record(() => undefined),
    () => device.submit([]),
    () => device.memory(),
    () => tensor.read(),
    () => tensor.write(new Float32Array(2)),
    () => handle.type,
    () => handle.name,
    () => handle.allocate('f32', [1]),
    () => handle.run('add', [], []),
    () => handle.record(),
    () => handle.submit([]),
    () => handle.memory(),
  ]) {
    expect(errorOf(body)).toMatchObject(disposed);
  }
  recorder.finish().dispose();
  program.dispose();
  tensor.dispose();
  expect([device.type, device.name]).toEqual(['cpu', 'cpu']);
});

test('dispose waits for the job under way and refuses those behind it', async () => {
  const device = Device.open('cpu', { threads: 1 });
  const weight = device.allocate('f32', [1500, 1500]);
  device.run('fill_random', [weight], [1, 1]);
  const out = device.allocate('f32', [1500, 1500]);
  const tensors = [weight.handle, weight.handle, null, out.handle];
  const jobs = [1, 2, 3].map(() =>
    device.submit([{ kind: 'run', op: 'linear', tensors, attrs: [0, 0] }]),
  );
  device.dispose();
  const results = await Promise.allSettled(jobs);
  const failures = results.flatMap((result) =>
    result.status === 'rejected' ? [(result.reason as { code: string }).code] : [],
  );
  expect(failures.length).toBeGreaterThanOrEqual(2);
  expect(new Set(failures)).toEqual(new Set(['ERR_FEWBIT_DISPOSED']));
});

test.each([undefined, { method: 'llm.int8' }] as const)(
  'disposed modules free all memory at once, quantization %j',
  async (quantization) => {
    const model = await AutoModelForCausalLM.fromPretrained(goldenFolder('llama-gqa'), {
      device: 'cpu',
      ...(quantization ? { quantization } : {}),
    });
    for (const module of model.transformer.modules) {
      for (const tensor of module.stored()) await tensor.read();
    }
    expect(model.device.memory().used).toBeGreaterThan(model.transformer.bytes - 1);
    model.transformer.dispose();
    expect(model.device.memory().used).toBe(0);
    await model.dispose();
  },
);

test('a disposed model is unusable', async () => {
  const folder = goldenFolder('llama-gqa');
  const model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  await model.forward([[1, 2, 3]]);
  await model.dispose();
  await model.dispose();
  await expect(model.forward([[1, 2]])).rejects.toMatchObject(disposed);
  expect(() => model.device.memory()).toThrow(expect.objectContaining(disposed));
});
