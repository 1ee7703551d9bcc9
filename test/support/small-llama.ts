import type { TensorSource } from '../../lib/checkpoint/safetensors-writer';
import { writeFolder } from './checkpoints';
import { encode } from './host-tensor';
import { normals } from './tensors';

export interface SmallLlamaOptions {
  hidden?: number;
  headDim?: number;
  inner?: number;
  layers?: number;
  /** Every norm gain. */
  gain?: number;
}

export const SMALL_VOCAB = 71;

/** Writes a Llama with random f32 weights and two query heads on one key head. */
export async function writeSmallLlama(
  folder: string,
  { hidden = 64, headDim = 32, inner = 64, layers = 2, gain = 1 }: SmallLlamaOptions = {},
): Promise<void> {
  const shapes: Record<string, number[]> = { 'model.embed_tokens.weight': [SMALL_VOCAB, hidden] };
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`;
    Object.assign(shapes, {
      [`${layer}.input_layernorm.weight`]: [hidden],
      [`${layer}.self_attn.q_proj.weight`]: [2 * headDim, hidden],
      [`${layer}.self_attn.k_proj.weight`]: [headDim, hidden],
      [`${layer}.self_attn.v_proj.weight`]: [headDim, hidden],
      [`${layer}.self_attn.o_proj.weight`]: [hidden, 2 * headDim],
      [`${layer}.post_attention_layernorm.weight`]: [hidden],
      [`${layer}.mlp.gate_proj.weight`]: [inner, hidden],
      [`${layer}.mlp.up_proj.weight`]: [inner, hidden],
      [`${layer}.mlp.down_proj.weight`]: [hidden, inner],
    });
  }
  Object.assign(shapes, {
    'model.norm.weight': [hidden],
    'lm_head.weight': [SMALL_VOCAB, hidden],
  });
  const tensors = Object.entries(shapes).map(([name, shape], seed): TensorSource => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const data =
      shape.length === 1 ? new Float64Array(count).fill(gain) : normals(count, seed, 0.2);
    return { name, dtype: 'f32', shape, data: encode(data, 'f32') };
  });
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    dtype: 'float32',
    vocab_size: SMALL_VOCAB,
    hidden_size: hidden,
    head_dim: headDim,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
  };
  await writeFolder(folder, config, tensors);
}
