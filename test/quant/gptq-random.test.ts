import { AutoModelForCausalLM, presetFields } from '../../lib';
import { LinearGptq } from '../../lib/quant/gptq';

const sizes = {
  vocab_size: 96,
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 64,
};
const LLAMA = { ...presetFields('llama-2-7b'), ...sizes, intermediate_size: 128 };
const OPT = { ...presetFields('opt-6.7b'), ...sizes, ffn_dim: 128, word_embed_proj_dim: 64 };

describe.each([2, 3, 4, 8])('%i bits without a checkpoint', (bits) => {
  test.each<[string, object, number]>([
    ['llama', LLAMA, 8],
    ['opt', OPT, 8],
  ])('%s', async (_, fields, layers) => {
    const config = {
      ...fields,
      quantization_config: {
        quant_method: 'gptq',
        bits,
        group_size: 32,
        sym: true,
        format: 'gptq_v2',
      },
    };
    await using model = await AutoModelForCausalLM.fromConfig(config, { device: 'cpu' });
    await using half = await AutoModelForCausalLM.fromConfig({ ...fields }, { device: 'cpu' });
    const quantized = model.transformer.modules.filter((module) => module instanceof LinearGptq);
    expect(quantized).toHaveLength(layers);
    // The same weights, biases included, and no more.
    expect(model.transformer.parameters).toBe(half.transformer.parameters);
    for (const { spec, bytes, parameters } of quantized) {
      const weights = spec.parts.reduce((sum, part) => sum + part.outFeatures, 0) * spec.inFeatures;
      const groups = weights / 32;
      expect(bytes).toBe((weights * bits) / 8 + 3 * groups + 2 * (parameters - weights));
    }
    const { logits } = await model.forward([[1, 5, 17, 80]]);
    expect(logits.every(Number.isFinite)).toBe(true);
    expect(new Set(logits).size).toBeGreaterThan(sizes.vocab_size);
  });
});
