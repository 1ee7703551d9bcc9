import { programSuite } from '../native/program-suite';
import { describeGpu } from '../support/gpu';

describeGpu('on CUDA', () => {
  describe.each(['f16', 'bf16'] as const)('in %s', (hidden) => programSuite('cuda', hidden));
});
