import type { TensorSource } from '../../lib/checkpoint/safetensors-writer';
import { packQuarters, ternaryMatrix } from './bitnet';
import { writeFolder } from './checkpoints';
import { encode } from './host-tensor';
import { normals } from './tensors';

/** A BitNet model whose widths are no multiples of 64. */
export const TINY_BITNET = {
  architectures: ['BitNetForCausalLM'],
  model_type: 'bitnet',
  dtype: 'bfloat16',
  vocab_size: 71,
  hidden_size: 48,
  intermediate_size: 76,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  bos_token_id: 1,
  eos_token_id: 2,
  tie_word_embeddings: true,
};

export const PACKED = {
  quant_method: 'bitnet',
  linear_class: 'autobitlinear',
  quantization_mode: 'offline',
};

/** Rows and columns of the linear layers of each decoder layer. */
const LINEARS: Record<string, [number, number]> = {
  'self_attn.q_proj': [48, 48],
  'self_attn.k_proj': [24, 48],
  'self_attn.v_proj': [24, 48],
  'self_attn.o_proj': [48, 48],
  'mlp.gate_proj': [76, 48],
  'mlp.up_proj': [76, 48],
  'mlp.down_proj': [48, 76],
};

const NORMS: Record<string, number> = { input_layernorm: 48, post_attention_layernorm: 48 };
export const SUB_NORMS = {
  transformers: { 'self_attn.attn_sub_norm': 48, 'mlp.ffn_sub_norm': 76 },
  '1bitLLM': { 'self_attn.inner_attn_ln': 48, 'mlp.ffn_layernorm': 76 },
  none: {},
} as const;

/** Names of all linear layers. */
export const LINEAR_NAMES = [0, 1].flatMap((layer) =>
  Object.keys(LINEARS).map((name) => `model.layers.${layer}.${name}`),
);

/** The ternary values that a linear layer has, whatever form they are stored in. */
export function ternaryOf(name: string): { ternary: Int8Array; columns: number } {
  const [, , layer, ...rest] = name.split('.');
  const [rows, columns] = LINEARS[rest.join('.')] as [number, number];
  const seed = 100 * Number(layer) + 10 * Object.keys(LINEARS).indexOf(rest.join('.'));
  return { ternary: ternaryMatrix(seed, rows, columns), columns };
}

/** The scale of a layer: powers of two, so that their reciprocals are exact, and all different. */
export const gammaOf = (name: string): number =>
  2 ** -(2 + (LINEAR_NAMES.indexOf(name) % Object.keys(LINEARS).length));

export interface BitnetFolderOptions {
  config?: Record<string, unknown>;
  quantization?: Record<string, unknown> | null;
  subNorms?: keyof typeof SUB_NORMS;
  /** What the tensors of a linear layer are; default packed, with gamma as its scale. */
  linear?: (name: string, ternary: Int8Array, columns: number) => TensorSource[];
  /** Tensors that replace those of their name. */
  instead?: TensorSource[];
}

/** A layer as the published checkpoints have it. */
export function packedLayer(
  name: string,
  ternary: Int8Array,
  columns: number,
  scale = gammaOf(name),
): TensorSource[] {
  const rows = ternary.length / columns;
  const data = packQuarters(ternary, columns);
  return [
    { name: `${name}.weight`, dtype: 'u8', shape: [rows / 4, columns], data },
    { name: `${name}.weight_scale`, dtype: 'bf16', shape: [1], data: encoded('bf16', [scale]) },
  ];
}

/** A layer as full-precision weights that come out as the same ternary ones. */
export function masterLayer(name: string, ternary: Int8Array, columns: number): TensorSource[] {
  // Large weights round to 1 and small ones to 0 at any mean between their halves and doubles.
  const values = Array.from(ternary, (value, i) => (value || (i % 2 ? 0.1 : -0.1)) * gammaOf(name));
  const shape = [ternary.length / columns, columns];
  return [{ name: `${name}.weight`, dtype: 'f32', shape, data: encoded('f32', values) }];
}

/** Writes a tiny BitNet model, the same one whatever form its layers take. */
export async function writeTinyBitnet(
  folder: string,
  options: BitnetFolderOptions = {},
): Promise<void> {
  const { config = {}, quantization = PACKED, subNorms = 'transformers' } = options;
  const { linear = packedLayer, instead = [] } = options;
  const tensors: TensorSource[] = [];
  let seed = 1;
  const floats = (name: string, shape: number[], scale: number, offset = 0): void => {
    const count = shape.reduce((a, b) => a * b, 1);
    const data = normals(count, seed++, scale).map((value) => value + offset);
    tensors.push({ name: `${name}.weight`, dtype: 'bf16', shape, data: encode(data, 'bf16') });
  };
  floats('model.embed_tokens', [71, 48], 1);
  floats('model.norm', [48], 0.1, 1);
  for (const layer of [0, 1]) {
    const root = `model.layers.${layer}`;
    for (const [name, size] of Object.entries({ ...NORMS, ...SUB_NORMS[subNorms] })) {
      floats(`${root}.${name}`, [size], 0.1, 1);
    }
    for (const name of Object.keys(LINEARS).map((own) => `${root}.${own}`)) {
      const { ternary, columns } = ternaryOf(name);
      tensors.push(...linear(name, ternary, columns));
    }
  }
  const replaced = new Map([...tensors, ...instead].map((tensor) => [tensor.name, tensor]));
  const fields = { ...TINY_BITNET, ...config };
  const quantized = quantization ? { quantization_config: quantization } : {};
  await writeFolder(folder, { ...fields, ...quantized }, replaced.values());
}

function encoded(dtype: 'f32' | 'bf16', values: readonly number[]): ArrayBufferView {
  return encode(Float64Array.from(values), dtype);
}
