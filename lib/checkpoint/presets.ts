// Shapes of well-known models, as their config.json files give them, for benchmarks that make their
// own weights. Sources: the models' repositories on the Hugging Face hub.
import { OptionsError } from '../errors';
import type { ModelConfig } from './config';
import { parseConfig } from './config';
import type { JsonObject } from './json';

function llama(
  hidden: number,
  intermediate: number,
  layers: number,
  heads: number,
  rest: JsonObject,
): JsonObject {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    torch_dtype: 'float16',
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
    ...rest,
  };
}

const LLAMA_2 = { vocab_size: 32000, max_position_embeddings: 4096 };

function opt(hidden: number, layers: number, heads: number, rest: JsonObject = {}): JsonObject {
  return {
    architectures: ['OPTForCausalLM'],
    model_type: 'opt',
    torch_dtype: 'float16',
    activation_function: 'relu',
    hidden_size: hidden,
    ffn_dim: 4 * hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    vocab_size: 50272,
    max_position_embeddings: 2048,
    word_embed_proj_dim: hidden,
    do_layer_norm_before: true,
    bos_token_id: 2,
    eos_token_id: 2,
    pad_token_id: 1,
    ...rest,
  };
}

const BITNET_2B_4T: JsonObject = {
  architectures: ['BitNetForCausalLM'],
  model_type: 'bitnet',
  torch_dtype: 'bfloat16',
  hidden_act: 'relu2',
  hidden_size: 2560,
  intermediate_size: 6912,
  num_hidden_layers: 30,
  num_attention_heads: 20,
  num_key_value_heads: 5,
  vocab_size: 128256,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  tie_word_embeddings: true,
  quantization_config: {
    quant_method: 'bitnet',
    linear_class: 'autobitlinear',
    quantization_mode: 'offline',
  },
};

const PRESETS = {
  'llama-2-7b': llama(4096, 11008, 32, 32, LLAMA_2),
  'llama-2-13b': llama(5120, 13824, 40, 40, LLAMA_2),
  'llama-2-70b': llama(8192, 28672, 80, 64, { ...LLAMA_2, num_key_value_heads: 8 }),
  'llama-3-8b': llama(4096, 14336, 32, 32, {
    torch_dtype: 'bfloat16',
    num_key_value_heads: 8,
    vocab_size: 128256,
    max_position_embeddings: 8192,
    rope_theta: 500000,
    bos_token_id: 128000,
    eos_token_id: 128001,
  }),
  'bitnet-2b-4t': BITNET_2B_4T,
  'opt-125m': opt(768, 12, 12),
  'opt-350m': opt(1024, 24, 16, { word_embed_proj_dim: 512, do_layer_norm_before: false }),
  'opt-1.3b': opt(2048, 24, 32),
  'opt-6.7b': opt(4096, 32, 32),
  'opt-13b': opt(5120, 40, 40),
  'opt-30b': opt(7168, 48, 56),
  'opt-66b': opt(9216, 64, 72),
  'opt-175b': opt(12288, 96, 96),
};

export type PresetName = keyof typeof PRESETS;

export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

/** @throws OptionsError when there is no such preset */
export function presetConfig(name: string): ModelConfig {
  return parseConfig(presetFields(name), `preset ${name}`);
}

/**
 * The fields of a preset's config.json, for `fromConfig` with some of them changed.
 * @throws OptionsError when there is no such preset
 */
export function presetFields(name: string): JsonObject {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new OptionsError(`unknown preset '${name}': use one of ${PRESET_NAMES.join(', ')}`);
  }
  return PRESETS[name as PresetName];
}
