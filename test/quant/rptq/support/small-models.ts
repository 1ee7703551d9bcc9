import type { TensorSource } from '../../../../lib/checkpoint/safetensors-writer';
import { elementsOf } from '../../../../lib/tensor';
import { writeFolder } from '../../../support/checkpoints';
import { encode } from '../../../support/host-tensor';
import { gaussian } from '../../../support/random';
import { normals } from '../../../support/tensors';

export type Architecture = 'llama' | 'opt';

export interface SmallModelOptions {
  /**
   * `two-valued`: each row of a layer holds only -2^(bits - 1) and 2^(bits - 1) - 1 times a power of
   * two, which a grid of `bits` bits represents without error, whatever the order of its columns.
   */
  weights?: 'normal' | 'two-valued';
  bits?: number;
  /** Changes the random values. */
  seed?: number;
}

export const VOCAB = 61;
const HIDDEN = 64;
const INNER = 96;
const HEAD = 32;
const LAYERS = 2;

/** Shape of every tensor. The Llama has 4 query heads on 2 heads of keys, the OPT 2 of each. */
function shapesOf(architecture: Architecture): Record<string, number[]> {
  const linear = (name: string, out: number, inputs: number) =>
    architecture === 'opt'
      ? { [`${name}.weight`]: [out, inputs], [`${name}.bias`]: [out] }
      : { [`${name}.weight`]: [out, inputs] };
  const norm = (name: string) =>
    architecture === 'opt'
      ? { [`${name}.weight`]: [HIDDEN], [`${name}.bias`]: [HIDDEN] }
      : { [`${name}.weight`]: [HIDDEN] };
  const shapes: Record<string, number[]> = {};
  if (architecture === 'llama') {
    Object.assign(shapes, { 'model.embed_tokens.weight': [VOCAB, HIDDEN] });
    for (let i = 0; i < LAYERS; i++) {
      const layer = `model.layers.${i}`;
      Object.assign(
        shapes,
        norm(`${layer}.input_layernorm`),
        linear(`${layer}.self_attn.q_proj`, 4 * HEAD, HIDDEN),
        linear(`${layer}.self_attn.k_proj`, 2 * HEAD, HIDDEN),
        linear(`${layer}.self_attn.v_proj`, 2 * HEAD, HIDDEN),
        linear(`${layer}.self_attn.o_proj`, HIDDEN, 4 * HEAD),
        norm(`${layer}.post_attention_layernorm`),
        linear(`${layer}.mlp.gate_proj`, INNER, HIDDEN),
        linear(`${layer}.mlp.up_proj`, INNER, HIDDEN),
        linear(`${layer}.mlp.down_proj`, HIDDEN, INNER),
      );
    }
    return Object.assign(shapes, norm('model.norm'), { 'lm_head.weight': [VOCAB, HIDDEN] });
  }
  const root = 'model.decoder';
  shapes[`${root}.embed_tokens.weight`] = [VOCAB, HIDDEN];
  shapes[`${root}.embed_positions.weight`] = [66, HIDDEN];
  for (let i = 0; i < LAYERS; i++) {
    const layer = `${root}.layers.${i}`;
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj']) {
      Object.assign(shapes, linear(`${layer}.self_attn.${name}`, HIDDEN, HIDDEN));
    }
    Object.assign(
      shapes,
      norm(`${layer}.self_attn_layer_norm`),
      linear(`${layer}.fc1`, INNER, HIDDEN),
      linear(`${layer}.fc2`, HIDDEN, INNER),
      norm(`${layer}.final_layer_norm`),
    );
  }
  return Object.assign(shapes, norm(`${root}.final_layer_norm`));
}

function configOf(architecture: Architecture): Record<string, unknown> {
  const shared = {
    vocab_size: VOCAB,
    hidden_size: HIDDEN,
    num_hidden_layers: LAYERS,
    max_position_embeddings: 64,
    dtype: 'float32',
  };
  if (architecture === 'opt') {
    return {
      ...shared,
      architectures: ['OPTForCausalLM'],
      model_type: 'opt',
      word_embed_proj_dim: HIDDEN,
      ffn_dim: INNER,
      num_attention_heads: 2,
      do_layer_norm_before: true,
      activation_function: 'relu',
      tie_word_embeddings: true,
    };
  }
  return {
    ...shared,
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    head_dim: HEAD,
    intermediate_size: INNER,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
  };
}

/** Writes a small model whose norms have gains of very different sizes. */
export async function writeSmallModel(
  folder: string,
  architecture: Architecture,
  { weights = 'normal', bits = 4, seed = 0 }: SmallModelOptions = {},
): Promise<void> {
  const tensors = Object.entries(shapesOf(architecture)).map(([name, shape], i): TensorSource => {
    const own = 1000 * seed + i;
    const data = /layers.*(_proj|fc\d)\.weight$/.test(name)
      ? linearWeights(shape, own, weights, bits)
      : otherWeights(name, shape, own);
    return { name, dtype: 'f32', shape, data: encode(data, 'f32') };
  });
  await writeFolder(folder, configOf(architecture), tensors);
}

function linearWeights(
  shape: number[],
  seed: number,
  kind: 'normal' | 'two-valued',
  bits: number,
): Float64Array {
  const values = normals(elementsOf(shape), seed, 0.15);
  if (kind === 'normal') return values;
  const half = 2 ** (bits - 1);
  const inputs = shape[1] as number;
  return values.map((value, at) => {
    const unit = 2 ** -(bits + 1 + (Math.floor(at / inputs) % 3));
    return (value < 0 ? -half : half - 1) * unit;
  });
}

function otherWeights(name: string, shape: number[], seed: number): Float64Array {
  const next = gaussian(seed);
  const isGain = shape.length === 1 && /norm\.weight$/.test(name);
  return Float64Array.from({ length: elementsOf(shape) }, () =>
    isGain ? 0.5 * Math.exp(next()) : next() * (shape.length === 1 ? 0.1 : 0.5),
  );
}

/** Windows of ids, the same ones every time. */
export function smallWindows(count: number, length: number): number[][] {
  return Array.from({ length: count }, (_, w) =>
    Array.from({ length }, (_, i) => (7 * w + 13 * i + ((i * i) % 11) * (w + 1)) % VOCAB),
  );
}
