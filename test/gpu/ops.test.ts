import { Device } from '../../lib/device';
import { doctor } from '../../lib/doctor';
import type { DType } from '../../lib/native';
import { opCases } from '../cases';
import { expectOutputs } from '../support/compare';
import { describeGpu } from '../support/gpu';
import { runCase } from '../support/run-case';

describeGpu('on CUDA', () => {
  let cpu: Device;
  let cuda: Device;
  beforeAll(() => {
    cpu = Device.open('cpu');
    cuda = Device.open('cuda');
  });
  afterAll(() => {
    cuda?.dispose();
    cpu?.dispose();
  });

  test('no op is missing', () => {
    expect(doctor().missingCudaOps).toEqual([]);
  });

  const runs = opCases.flatMap((opCase) =>
    opCase.hidden.map((hidden) => [opCase.name, hidden, opCase] as const),
  );

  test.each(runs)('%s in %s, as on the CPU', (_, hidden: DType, opCase) => {
    // The CPU gets the same 16-bit values, widened: only what CUDA rounds can differ.
    const onCpu = { hidden: 'f32', weight: hidden, rounding: hidden } as const;
    const onCuda = { hidden, weight: hidden, rounding: hidden };
    const expected = runCase(cpu, opCase, onCpu);
    const actual = runCase(cuda, opCase, onCuda);
    expectOutputs(opCase, actual, expected, hidden);
    const again = runCase(cuda, opCase, onCuda);
    for (const [name, data] of Object.entries(actual)) {
      const same = data.every((value, i) => Object.is(value, again[name]?.[i]));
      expect({ [name]: same ? 'same' : 'differs' }).toEqual({ [name]: 'same' });
    }
  });
});
