import { Device } from '../../lib/device';
import type { DType } from '../../lib/native';
import { cudaCases, opCases } from '../cases';
import { expectOutputs } from './compare';
import { describeGpu } from './gpu';
import { runCase } from './run-case';

/** Ops by name, in groups with a test file each: files run side by side. */
const GROUPS = {
  int8: /int8/,
  gptq: /gptq/,
  attention: /attention|cache|key_round/,
  other: /^/,
};

export type OpGroup = keyof typeof GROUPS;

/** The first group that an op fits. */
function groupOf(op: string): OpGroup {
  return (Object.keys(GROUPS) as OpGroup[]).find((group) => GROUPS[group].test(op)) as OpGroup;
}

/** Tests every case of a group's ops on CUDA against the CPU, and against itself. */
export function testOpsOnCuda(group: OpGroup): void {
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

    const runs = [...opCases, ...cudaCases]
      .filter(({ op }) => groupOf(op) === group)
      .flatMap((opCase) => opCase.hidden.map((hidden) => [opCase.name, hidden, opCase] as const));

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
}
