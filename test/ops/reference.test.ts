import { Device } from '../../lib/device';
import type { DType } from '../../lib/native';
import { native } from '../../lib/native';
import { opCases } from '../cases';
import { HALVES } from '../cases/op-case';
import { expectOutputs } from '../support/compare';
import { expectedOutputs, references } from '../support/reference';
import { runCase } from '../support/run-case';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu');
});
afterAll(() => device.dispose());

test('every op has a reference and cases', () => {
  const names = [...native().operations().cpu].sort();
  expect(Object.keys(references).sort()).toEqual(names);
  expect([...new Set(opCases.map(({ op }) => op))].sort()).toEqual(names);
  expect(new Set(opCases.map(({ name }) => name)).size).toBe(opCases.length);
});

/** Ops whose weights may be in another dtype than hidden states. */
const takesWeights = opCases.filter(({ tensors }) =>
  Object.values(tensors).some((tensor) => tensor?.dtype === 'weight'),
);

describe('on the CPU, as in double precision', () => {
  test.each(opCases.map((opCase) => [opCase.name, opCase] as const))('%s', (_, opCase) => {
    const dtypes = { hidden: 'f32', weight: 'f32' } as const;
    const actual = runCase(device, opCase, dtypes);
    expectOutputs(opCase, actual, expectedOutputs(opCase, dtypes), precisionOf(opCase.attrs));
  });
});

describe.each(HALVES)('with weights in %s', (weight: DType) => {
  test.each(takesWeights.map((opCase) => [opCase.name, opCase] as const))('%s', (_, opCase) => {
    const dtypes = { hidden: 'f32', weight } as const;
    const actual = runCase(device, opCase, dtypes);
    expectOutputs(opCase, actual, expectedOutputs(opCase, dtypes), precisionOf(opCase.attrs));
  });
});

/** bitsandbytes' mode rounds to fp16 on the way, where fp32 may fall on the other side of a tie. */
function precisionOf({ mode, activation }: Readonly<Record<string, number>>): DType {
  return mode === 1 && activation !== undefined ? 'f16' : 'f32';
}
