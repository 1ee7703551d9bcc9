import { z } from 'zod';
import type { CommonConfig, CommonDefaults } from './common';
import { commonConfig, commonShape, flag, requireOneOf, size, withDefault } from './common';
import { defineArchitecture } from './define';
import type { RopeConfig } from './rope';
import { ropeConfig, ropeShape } from './rope';

export interface LlamaConfig extends CommonConfig {
  modelType: 'llama';
  /** Rows of the gate and up projections. */
  intermediateSize: number;
  /** Heads of keys and values; a divisor of `numAttentionHeads`. */
  numKeyValueHeads: number;
  headDim: number;
  rmsNormEps: number;
  hiddenAct: 'silu';
  attentionBias: boolean;
  mlpBias: boolean;
  rope: RopeConfig;
}

/** Values of missing keys. */
export interface LlamaDefaults extends CommonDefaults {
  intermediateSize: number;
  rmsNormEps: number;
  hiddenAct: string;
  theta: number;
  /** Default: as many as there are heads. */
  numKeyValueHeads?: number;
}

/** The schema of configurations of Llama's shape. */
export function llamaSchema(defaults: LlamaDefaults) {
  return z
    .object({
      ...commonShape(defaults),
      ...ropeShape,
      intermediate_size: withDefault(size, defaults.intermediateSize),
      num_key_value_heads: size.nullish().transform((found) => found ?? defaults.numKeyValueHeads),
      head_dim: size.nullish(),
      rms_norm_eps: withDefault(z.number().min(0), defaults.rmsNormEps),
      hidden_act: withDefault(z.string(), defaults.hiddenAct),
      attention_bias: withDefault(flag, false),
      mlp_bias: withDefault(flag, false),
    })
    .refine((c) => c.head_dim || c.hidden_size % c.num_attention_heads === 0, {
      path: ['hidden_size'],
      message: 'is not a multiple of num_attention_heads, and there is no head_dim',
    })
    .refine((c) => (c.head_dim ?? c.hidden_size / c.num_attention_heads) % 2 === 0, {
      path: ['head_dim'],
      message: 'is odd: rotary embeddings turn pairs',
    })
    .refine((c) => c.num_attention_heads % (c.num_key_value_heads ?? c.num_attention_heads) === 0, {
      path: ['num_attention_heads'],
      message: 'is not a multiple of num_key_value_heads',
    });
}

/** The parsed keys under their TypeScript names, without the activation. */
export function llamaFields(
  fields: z.output<ReturnType<typeof llamaSchema>>,
  { theta }: LlamaDefaults,
  where: string,
): Omit<LlamaConfig, 'modelType' | 'hiddenAct'> {
  const common = commonConfig(fields);
  const { hiddenSize, numAttentionHeads, maxPositionEmbeddings } = common;
  return {
    ...common,
    intermediateSize: fields.intermediate_size,
    numKeyValueHeads: fields.num_key_value_heads ?? numAttentionHeads,
    headDim: fields.head_dim ?? hiddenSize / numAttentionHeads,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    rope: ropeConfig(fields, { theta, maxPositionEmbeddings }, where),
  };
}

/** What transformers' LlamaConfig has. */
export const LLAMA_DEFAULTS: LlamaDefaults = {
  vocabSize: 32000,
  hiddenSize: 4096,
  intermediateSize: 11008,
  numHiddenLayers: 32,
  numAttentionHeads: 32,
  maxPositionEmbeddings: 2048,
  rmsNormEps: 1e-6,
  hiddenAct: 'silu',
  theta: 10000,
  tieWordEmbeddings: false,
  bosTokenId: 1,
  eosTokenId: 2,
  padTokenId: null,
};

export const llama = defineArchitecture({
  modelType: 'llama',
  classes: ['LlamaForCausalLM'],
  schema: llamaSchema(LLAMA_DEFAULTS),
  normalize: (fields, where): LlamaConfig => ({
    modelType: 'llama',
    ...llamaFields(fields, LLAMA_DEFAULTS, where),
    hiddenAct: requireOneOf(where, 'hidden_act', fields.hidden_act, ['silu']),
  }),
});
