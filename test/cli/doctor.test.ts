import { type DoctorReport, doctor } from '../../lib';
import type { LayerCheck } from '../../lib/eval/layer-check';
import { fewbit, fewbitJson } from './fewbit';

test('reports the machine, and why CUDA is not used', async () => {
  const report = await fewbitJson<DoctorReport & { device: object }>(['doctor']);
  expect(report.cpu).toEqual(doctor().cpu);
  expect(report.node).toBe(process.version);
  expect(report.cuda.reason).toContain('FEWBIT_DEVICE=cpu');
  expect(report.device).toMatchObject({ type: 'cpu', freeBytes: expect.any(Number) });
});

test('prints the same for people', async () => {
  const { code, stdout, stderr } = await fewbit(['doctor']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain(`${doctor().cpu.isa} kernels`);
  expect(stdout).toMatch(/^CUDA +not used: .*FEWBIT_DEVICE=cpu/m);
  expect(stdout).toMatch(/^auto +takes cpu$/m);
});

test('fails when the device asked for cannot be used, after the report', async () => {
  const { code, stdout, stderr } = await fewbit(['doctor', '--device', 'cuda']);
  expect(stdout).toMatch(/^CUDA +not used/m);
  expect(stderr).toMatch(/^fewbit: ERR_FEWBIT_DEVICE: CUDA cannot be used/);
  expect(code).toBe(1);
});

test('checks that a layer of a method works on the device', async () => {
  const args = ['doctor', '--quantization', 'llm.int8,threshold=0'];
  const { check } = await fewbitJson<{ check: LayerCheck }>(args);
  expect(check).toMatchObject({ method: 'llm.int8', ok: true });
  // int8 is neither exact nor far off.
  expect(check.relativeError).toBeGreaterThan(0.001);
  const { stdout } = await fewbit(args);
  expect(stdout).toMatch(/^llm\.int8 +works: a layer on .* is 0\.\d+% off 16 bits$/m);
});
