import { testOpsOnCuda } from '../support/gpu-ops';

testOpsOnCuda('gptq');
