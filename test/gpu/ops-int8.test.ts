import { testOpsOnCuda } from '../support/gpu-ops';

testOpsOnCuda('int8');
