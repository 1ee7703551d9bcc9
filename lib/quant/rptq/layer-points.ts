import type { ModelConfig } from '../../checkpoint/config';
import { UnsupportedError } from '../../errors';

/** Linear layers of one decoder layer, by what RPTQ does to their inputs. */
export interface LayerPoints {
  /** Prefix of what belongs to attention. */
  readonly attention: string;
  /** Norms before attention and before the feed-forward. */
  readonly norms: { readonly attention: string; readonly inner: string };
  /** Read the first norm (R1); v's outputs are reordered for the output projection. */
  readonly query: string;
  readonly key: string;
  readonly value: string;
  /** Reads what attention makes (R3). */
  readonly output: string;
  /** Read the second norm (R4); their outputs are reordered for the last projection. */
  readonly inner: readonly string[];
  /** Reads what is between them (R5). */
  readonly down: string;
}

/** Extents of a model that decide how its channels may be clustered. */
export interface HeadShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * The linear layers of each decoder layer of an architecture.
 * @throws UnsupportedError for those whose norms cannot be reordered
 */
export function layerPoints(config: ModelConfig, layer: number): LayerPoints {
  switch (config.modelType) {
    case 'llama':
      return points(`model.layers.${layer}`, 'o_proj', {
        norms: { attention: 'input_layernorm', inner: 'post_attention_layernorm' },
        inner: ['mlp.gate_proj', 'mlp.up_proj'],
        down: 'mlp.down_proj',
      });
    case 'opt':
      if (!config.doLayerNormBefore) {
        throw new UnsupportedError(
          'rptq: the norms of this model stand after its blocks (as in OPT-350M), where their outputs ' +
            'are the residual, too, and must keep their order: use gptq or llm.int8',
        );
      }
      return points(`model.decoder.layers.${layer}`, 'out_proj', {
        norms: { attention: 'self_attn_layer_norm', inner: 'final_layer_norm' },
        inner: ['fc1'],
        down: 'fc2',
      });
    default:
      throw new UnsupportedError(
        `rptq: models of type ${config.modelType} are not supported; supported: llama, opt`,
      );
  }
}

function points(
  prefix: string,
  output: string,
  { norms, inner, down }: Pick<LayerPoints, 'norms' | 'inner' | 'down'>,
): LayerPoints {
  const attention = `${prefix}.self_attn`;
  return {
    attention,
    norms: { attention: `${prefix}.${norms.attention}`, inner: `${prefix}.${norms.inner}` },
    query: `${attention}.q_proj`,
    key: `${attention}.k_proj`,
    value: `${attention}.v_proj`,
    output: `${attention}.${output}`,
    inner: inner.map((name) => `${prefix}.${name}`),
    down: `${prefix}.${down}`,
  };
}

export function headShape(config: ModelConfig): HeadShape {
  const heads = config.numAttentionHeads;
  if (config.modelType === 'opt') {
    return { heads, kvHeads: heads, headDim: config.hiddenSize / heads };
  }
  return { heads, kvHeads: config.numKeyValueHeads, headDim: config.headDim };
}
