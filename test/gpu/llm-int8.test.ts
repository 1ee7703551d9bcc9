import { llmInt8Accuracy } from '../ops/llm-int8-accuracy';
import { llmInt8Example } from '../ops/llm-int8-example';
import { llmInt8Golden } from '../ops/llm-int8-golden';
import { describeGpu } from '../support/gpu';

describeGpu('on CUDA', () => {
  describe.each(['f16', 'bf16'] as const)('in %s', (hidden) => {
    describe('the worked example', () => llmInt8Example('cuda', hidden));
    describe('accuracy', () => llmInt8Accuracy('cuda', hidden));
  });
  describe('against bitsandbytes', () => llmInt8Golden('cuda', 'f16'));
});
