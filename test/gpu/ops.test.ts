import { doctor } from '../../lib/doctor';
import { describeGpu } from '../support/gpu';
import { testOpsOnCuda } from '../support/gpu-ops';

describeGpu('the CUDA library', () => {
  test('has every op', () => {
    expect(doctor().missingCudaOps).toEqual([]);
  });
});

testOpsOnCuda('other');
