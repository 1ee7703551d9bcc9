import type { BitnetConfig } from '../checkpoint/config';
import type { ModelBuilder } from './builder';
import type { Decoder } from './decoder';
import { llamaDecoder } from './llama';

/** Names of the norms before the output and down projections. */
const SUB_NORMS = {
  transformers: { attention: 'attn_sub_norm', mlp: 'ffn_sub_norm' },
  '1bitLLM': { attention: 'inner_attn_ln', mlp: 'ffn_layernorm' },
} as const;

/**
 * BitNet b1.58 (arXiv 2402.17764, 2504.12285): a Llama whose blocks have a norm before their last
 * projection, and squared ReLU in the place of SiLU (not in the older 1bitLLM models).
 */
export function bitnet(config: BitnetConfig, build: ModelBuilder): Decoder {
  return llamaDecoder(config, build, {
    activation: config.hiddenAct,
    subNorms: SUB_NORMS[config.naming],
  });
}
