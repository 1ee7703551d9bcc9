import type { OptConfig } from '../checkpoint/config';
import type { LinearGroup } from '../nn/linear-group';
import type { LinearInput } from '../nn/linear-input';
import type { Norm } from '../nn/norm';
import * as ops from '../ops';
import type { Tensor } from '../tensor';
import type { ModelBuilder } from './builder';
import { type Decoder, type DecoderLayer, type LayerInputs, normedInput, normOf } from './decoder';

const EPS = 1e-5;
/** Rows of the position table before that of position 0. */
const POSITION_OFFSET = 2;
const ROOT = 'model.decoder';

/**
 * OPT (arXiv 2205.01068): layer norms, learned positions, relu. The norms stand before each block,
 * or after it in the 350m variant, whose embeddings are also narrower than its hidden states.
 */
export function opt(config: OptConfig, build: ModelBuilder): Decoder {
  const { hiddenSize, wordEmbedProjDim } = config;
  const projection = (name: string, from: number, to: number): LinearGroup | undefined =>
    wordEmbedProjDim === hiddenSize ? undefined : build.linear(name, { in: from, out: to });

  const embedTokens = build.embedding(`${ROOT}.embed_tokens`, config.vocabSize, wordEmbedProjDim);
  const embedPositions = build.embedding(
    `${ROOT}.embed_positions`,
    config.maxPositionEmbeddings + POSITION_OFFSET,
    hiddenSize,
  );
  const projectIn = projection(`${ROOT}.project_in`, wordEmbedProjDim, hiddenSize);
  const layers = build.layers(config.numHiddenLayers, (i) => optLayer(config, build, i));
  const hasFinalNorm = config.doLayerNormBefore && !config.removeFinalLayerNorm;
  const finalNorm = hasFinalNorm ? layerNorm(config, build, `${ROOT}.final_layer_norm`) : undefined;
  const projectOut = projection(`${ROOT}.project_out`, hiddenSize, wordEmbedProjDim);
  const tied = config.tieWordEmbeddings ? embedTokens : undefined;
  const head = build.head('lm_head', { in: wordEmbedProjDim, out: config.vocabSize }, tied);

  return {
    kvHeads: config.numAttentionHeads,
    headDim: hiddenSize / config.numAttentionHeads,
    embed({ ids, positions }) {
      const tokens = embedTokens.forward(ids);
      const hidden = projectIn?.forwardOne(tokens) ?? tokens;
      return embedPositions.forward(positions, { offset: POSITION_OFFSET, into: hidden });
    },
    layers,
    finish(state) {
      const { residual, delta } = state;
      const sum = delta && !finalNorm ? ops.add(delta, residual, residual) : residual;
      const hidden = finalNorm ? normOf(finalNorm, state) : sum;
      return projectOut?.forwardOne(hidden) ?? hidden;
    },
    head,
  };
}

function layerNorm(config: OptConfig, build: ModelBuilder, name: string): Norm {
  return build.layerNorm(name, config.hiddenSize, EPS, config.layerNormElementwiseAffine);
}

function optLayer(config: OptConfig, build: ModelBuilder, index: number): DecoderLayer {
  const { hiddenSize, enableBias: bias, ffnDim } = config;
  const heads = config.numAttentionHeads;
  const name = `${ROOT}.layers.${index}`;
  const attn = `${name}.self_attn`;
  const attentionNorm = layerNorm(config, build, `${name}.self_attn_layer_norm`);
  const qkv = build.linears(
    ['q_proj', 'k_proj', 'v_proj'].map((part) => ({
      name: `${attn}.${part}`,
      outFeatures: hiddenSize,
    })),
    hiddenSize,
    bias,
  );
  const attention = build.attention(attn, { heads, kvHeads: heads, headDim: hiddenSize / heads });
  const output = build.linear(`${attn}.out_proj`, { in: hiddenSize, out: hiddenSize, bias });
  const mlpNorm = layerNorm(config, build, `${name}.final_layer_norm`);
  const fc1 = build.linear(`${name}.fc1`, { in: hiddenSize, out: ffnDim, bias });
  const fc2 = build.linear(`${name}.fc2`, { in: ffnDim, out: hiddenSize, bias });

  function attend(input: LinearInput, inputs: LayerInputs): Tensor {
    const [q, k, v] = qkv.forward(input) as [Tensor, Tensor, Tensor];
    return output.forwardOne(attention.forward(q, k, v, { ...inputs, rope: undefined }));
  }

  const feedForward = (input: LinearInput): Tensor =>
    fc2.forwardOne(fc1.forwardOne(input, { activation: 'relu' }));

  /** Norm, block, add. */
  const preNorm: DecoderLayer = {
    forward(state, inputs) {
      const { residual } = state;
      const delta = attend(normedInput(attentionNorm, state), inputs);
      return { residual, delta: feedForward(normedInput(mlpNorm, { residual, delta })) };
    },
  };

  /** Block, add, norm. */
  const postNorm: DecoderLayer = {
    forward({ residual }, inputs) {
      const x = attentionNorm.forward(attend({ x: residual }, inputs), residual);
      return { residual: mlpNorm.forward(feedForward({ x }), x) };
    },
  };
  return config.doLayerNormBefore ? preNorm : postNorm;
}
