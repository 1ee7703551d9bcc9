import type { z } from 'zod';
import type { JsonObject } from '../json';
import { requireOneOf, size } from './common';
import { defineArchitecture } from './define';
import type { LlamaConfig, LlamaDefaults } from './llama';
import { LLAMA_DEFAULTS, llamaFields, llamaSchema } from './llama';

/** BitNet b1.58 (arXiv 2402.17764, 2504.12285): Llama's shape with norms inside of the blocks. */
export interface BitnetConfig extends Omit<LlamaConfig, 'modelType' | 'hiddenAct'> {
  modelType: 'bitnet';
  hiddenAct: 'relu2' | 'silu';
  /** Whose names the inner norms have: transformers' (2B4T), or those of the 1bitLLM models. */
  naming: 'transformers' | '1bitLLM';
}

/** What transformers' BitNetConfig has. */
const DEFAULTS: LlamaDefaults = {
  vocabSize: 128256,
  hiddenSize: 2560,
  intermediateSize: 6912,
  numHiddenLayers: 30,
  numAttentionHeads: 20,
  numKeyValueHeads: 5,
  maxPositionEmbeddings: 2048,
  rmsNormEps: 1e-5,
  hiddenAct: 'relu2',
  theta: 500000,
  tieWordEmbeddings: false,
  bosTokenId: 128000,
  eosTokenId: 128001,
  padTokenId: null,
};

/** The 1bitLLM models are float masters, and say so by `weight_bits` alone. */
const MASTERS: JsonObject = {
  quant_method: 'bitnet',
  linear_class: 'autobitlinear',
  quantization_mode: 'online',
};

function configOf(
  fields: z.output<ReturnType<typeof llamaSchema>>,
  defaults: LlamaDefaults,
  naming: BitnetConfig['naming'],
  where: string,
): BitnetConfig {
  return {
    modelType: 'bitnet',
    ...llamaFields(fields, defaults, where),
    hiddenAct: requireOneOf(where, 'hidden_act', fields.hidden_act, ['relu2', 'silu']),
    naming,
    // Whatever the weights were saved in: squared ReLU leaves the range of f16.
    dtype: 'bf16',
  };
}

export const bitnet = defineArchitecture({
  modelType: 'bitnet',
  classes: ['BitNetForCausalLM'],
  schema: llamaSchema(DEFAULTS),
  normalize: (fields, where) => configOf(fields, DEFAULTS, 'transformers', where),
});

/** Their class is a copy of Llama's, whose model_type and defaults it has. */
export const oneBitLlm = defineArchitecture({
  modelType: 'llama',
  classes: ['BitnetForCausalLM'],
  schema: llamaSchema(LLAMA_DEFAULTS).safeExtend({
    weight_bits: size.nullish(),
    input_bits: size.nullish(),
  }),
  normalize(fields, where): BitnetConfig {
    requireOneOf(where, 'weight_bits', String(fields.weight_bits ?? 1), ['1']);
    requireOneOf(where, 'input_bits', String(fields.input_bits ?? 8), ['8']);
    const config = configOf(fields, LLAMA_DEFAULTS, '1bitLLM', where);
    return { ...config, quantization: config.quantization ?? MASTERS };
  },
});
