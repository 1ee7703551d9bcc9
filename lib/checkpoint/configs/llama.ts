import { z } from 'zod';
import type { CommonConfig } from './common';
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

const DEFAULT_THETA = 10000;

const schema = z
  .object({
    ...commonShape({
      vocabSize: 32000,
      hiddenSize: 4096,
      numHiddenLayers: 32,
      numAttentionHeads: 32,
      maxPositionEmbeddings: 2048,
      tieWordEmbeddings: false,
      bosTokenId: 1,
      eosTokenId: 2,
      padTokenId: null,
    }),
    ...ropeShape,
    intermediate_size: withDefault(size, 11008),
    num_key_value_heads: size.nullish(),
    head_dim: size.nullish(),
    rms_norm_eps: withDefault(z.number().min(0), 1e-6),
    hidden_act: withDefault(z.string(), 'silu'),
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

export const llama = defineArchitecture({
  modelType: 'llama',
  classes: ['LlamaForCausalLM'],
  schema,
  normalize(fields, where): LlamaConfig {
    const common = commonConfig(fields);
    const { hiddenSize, numAttentionHeads, maxPositionEmbeddings } = common;
    const defaults = { theta: DEFAULT_THETA, maxPositionEmbeddings };
    return {
      modelType: 'llama',
      ...common,
      intermediateSize: fields.intermediate_size,
      numKeyValueHeads: fields.num_key_value_heads ?? numAttentionHeads,
      headDim: fields.head_dim ?? hiddenSize / numAttentionHeads,
      rmsNormEps: fields.rms_norm_eps,
      hiddenAct: requireOneOf(where, 'hidden_act', fields.hidden_act, ['silu']),
      attentionBias: fields.attention_bias,
      mlpBias: fields.mlp_bias,
      rope: ropeConfig(fields, defaults, where),
    };
  },
});
