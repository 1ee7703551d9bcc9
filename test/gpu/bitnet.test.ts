import { AutoModelForCausalLM } from '../../lib';
import type { FromPretrainedOptions } from '../../lib/pretrained/auto';
import { cacheSuite } from '../models/cache-suite';
import { goldenError, samplePerplexity } from '../models/golden-models';
import { bitnetSuite } from '../ops/bitnet-suite';
import {
  type BitnetFolderOptions,
  gammaOf,
  masterLayer,
  packedLayer,
  writeTinyBitnet,
} from '../support/bitnet-checkpoint';
import { Folders } from '../support/checkpoints';
import { relativeError, sampleExpected, sampleFolder } from '../support/golden';
import { describeGpu } from '../support/gpu';

const folders = new Folders();
afterAll(() => folders.dispose());

const cuda: FromPretrainedOptions = { device: 'cuda' };

describeGpu('on CUDA', () => {
  describe.each(['f16', 'bf16'] as const)('BitNet ops in %s', (hidden) =>
    bitnetSuite('cuda', hidden),
  );

  // Hidden states in 16 bits let codes fall to the other side of a tie, which moves logits by 1.5e-2:
  // see docs/benchmarks.md.
  test.each([
    ['f16', 2e-2],
    ['bf16', 2e-2],
  ] as const)('logits of bitnet-packed in %s', async (dtype, limit) => {
    expect(await goldenError('bitnet-packed', { ...cuda, dtype })).toBeLessThan(limit);
  });

  describe('sample-bitnet', () => {
    const { perplexity } = sampleExpected('sample-bitnet');

    test('hidden states are bf16 unless asked otherwise', async () => {
      await using model = await AutoModelForCausalLM.fromPretrained(
        sampleFolder('sample-bitnet'),
        cuda,
      );
      expect(model.transformer.context.activations).toBe('bf16');
    });

    test.each(['bf16', 'f16'] as const)('perplexity within 0.5%% in %s', async (dtype) => {
      const found = await samplePerplexity('sample-bitnet', { ...cuda, dtype });
      expect(Math.abs(found / perplexity - 1)).toBeLessThan(5e-3);
    });

    test('an int8 head costs little', async () => {
      const quantization = { method: 'bitnet', lmHead: 'int8' } as const;
      const found = await samplePerplexity('sample-bitnet', { ...cuda, quantization });
      expect(Math.abs(found / perplexity - 1)).toBeLessThan(5e-3);
    });
  });

  // Layers without norms inside, and with one of their own each: what 2B4T does not have.
  test.each<[string, BitnetFolderOptions]>([
    [
      'a Llama with ternary layers',
      {
        config: { architectures: ['LlamaForCausalLM'], model_type: 'llama' },
        quantization: { quant_method: 'bitnet' },
        subNorms: 'none',
        linear: (name, ternary, columns) => packedLayer(name, ternary, columns, 1 / gammaOf(name)),
      },
    ],
    [
      'float masters of 1bitLLM',
      {
        config: { architectures: ['BitnetForCausalLM'], model_type: 'llama', weight_bits: 1 },
        quantization: null,
        subNorms: '1bitLLM',
        linear: masterLayer,
      },
    ],
  ])('%s as on the CPU', async (_, options) => {
    const folder = folders.path();
    await writeTinyBitnet(folder, options);
    const logits: Float32Array[] = [];
    for (const device of ['cpu', 'cuda'] as const) {
      await using model = await AutoModelForCausalLM.fromPretrained(folder, { device });
      logits.push((await model.forward([[5, 60, 33, 2, 70, 11, 8, 9]])).logits);
    }
    const [cpu, gpu] = logits as [Float32Array, Float32Array];
    expect(relativeError(gpu, cpu)).toBeLessThan(5e-2);
  });

  describe('bitnet-packed', () => cacheSuite('bitnet-packed', { ...cuda, dtype: 'f16' }, 3e-2));
});
