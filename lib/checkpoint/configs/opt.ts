import { z } from 'zod';
import type { CommonConfig } from './common';
import { commonConfig, commonShape, flag, requireOneOf, size, withDefault } from './common';
import { defineArchitecture } from './define';

export interface OptConfig extends CommonConfig {
  modelType: 'opt';
  ffnDim: number;
  /** Width of the embeddings; projected to `hiddenSize` and back where it differs (opt-350m). */
  wordEmbedProjDim: number;
  /** Norm before attention and before the feed-forward part, else after each (opt-350m). */
  doLayerNormBefore: boolean;
  /** The linear layers have biases. */
  enableBias: boolean;
  /** The layer norms have weights and biases. */
  layerNormElementwiseAffine: boolean;
  /** There is no norm after the last layer (some early checkpoints). */
  removeFinalLayerNorm: boolean;
  activationFunction: 'relu';
}

const schema = z
  .object({
    ...commonShape({
      vocabSize: 50272,
      hiddenSize: 768,
      numHiddenLayers: 12,
      numAttentionHeads: 12,
      maxPositionEmbeddings: 2048,
      tieWordEmbeddings: true,
      bosTokenId: 2,
      eosTokenId: 2,
      padTokenId: 1,
    }),
    ffn_dim: withDefault(size, 3072),
    word_embed_proj_dim: size.nullish(),
    do_layer_norm_before: withDefault(flag, true),
    enable_bias: withDefault(flag, true),
    layer_norm_elementwise_affine: withDefault(flag, true),
    _remove_final_layer_norm: withDefault(flag, false),
    activation_function: withDefault(z.string(), 'relu'),
  })
  .refine((c) => c.hidden_size % c.num_attention_heads === 0, {
    path: ['hidden_size'],
    message: 'is not a multiple of num_attention_heads',
  });

export const opt = defineArchitecture({
  modelType: 'opt',
  classes: ['OPTForCausalLM'],
  schema,
  normalize(fields, where): OptConfig {
    return {
      modelType: 'opt',
      ...commonConfig(fields),
      ffnDim: fields.ffn_dim,
      wordEmbedProjDim: fields.word_embed_proj_dim ?? fields.hidden_size,
      doLayerNormBefore: fields.do_layer_norm_before,
      enableBias: fields.enable_bias,
      layerNormElementwiseAffine: fields.layer_norm_elementwise_affine,
      removeFinalLayerNorm: fields._remove_final_layer_norm,
      activationFunction: requireOneOf(where, 'activation_function', fields.activation_function, [
        'relu',
      ]),
    };
  },
});
