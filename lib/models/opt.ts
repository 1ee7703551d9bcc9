import type { OptConfig } from '../checkpoint/config';
import type { ForwardBatch } from '../nn/causal-lm';
import type { LinearGroup } from '../nn/linear-group';
import type { Norm } from '../nn/norm';
import * as ops from '../ops';
import type { Tensor } from '../tensor';
import type { ModelBuilder } from './builder';
import type { Decoder } from './decoder';

const EPS = 1e-5;
/** Rows of the position table before that of position 0. */
const POSITION_OFFSET = 2;

interface Layer {
  qkv: LinearGroup;
  output: LinearGroup;
  attentionNorm: Norm;
  fc1: LinearGroup;
  fc2: LinearGroup;
  mlpNorm: Norm;
}

/**
 * OPT (arXiv 2205.01068): layer norms, learned positions, relu. The norms stand before each block,
 * or after it in the 350m variant, whose embeddings are also narrower than its hidden states.
 */
export function opt(config: OptConfig, build: ModelBuilder): Decoder {
  const { hiddenSize, wordEmbedProjDim, enableBias: bias, ffnDim } = config;
  const headDim = hiddenSize / config.numAttentionHeads;
  const layerNorm = (name: string): Norm =>
    build.layerNorm(name, hiddenSize, EPS, config.layerNormElementwiseAffine);
  const projection = (name: string, from: number, to: number): LinearGroup | undefined =>
    wordEmbedProjDim === hiddenSize ? undefined : build.linear(name, { in: from, out: to });

  const root = 'model.decoder';
  const embedTokens = build.embedding(`${root}.embed_tokens`, config.vocabSize, wordEmbedProjDim);
  const embedPositions = build.embedding(
    `${root}.embed_positions`,
    config.maxPositionEmbeddings + POSITION_OFFSET,
    hiddenSize,
  );
  const projectIn = projection(`${root}.project_in`, wordEmbedProjDim, hiddenSize);
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i): Layer => {
    const layer = `${root}.layers.${i}`;
    const attn = `${layer}.self_attn`;
    const qkv = ['q_proj', 'k_proj', 'v_proj'].map((part) => `${attn}.${part}`);
    return {
      attentionNorm: layerNorm(`${layer}.self_attn_layer_norm`),
      qkv: build.linears(
        qkv.map((name) => ({ name, outFeatures: hiddenSize })),
        hiddenSize,
        bias,
      ),
      output: build.linear(`${attn}.out_proj`, { in: hiddenSize, out: hiddenSize, bias }),
      mlpNorm: layerNorm(`${layer}.final_layer_norm`),
      fc1: build.linear(`${layer}.fc1`, { in: hiddenSize, out: ffnDim, bias }),
      fc2: build.linear(`${layer}.fc2`, { in: ffnDim, out: hiddenSize, bias }),
    };
  });
  const hasFinalNorm = config.doLayerNormBefore && !config.removeFinalLayerNorm;
  const finalNorm = hasFinalNorm ? layerNorm(`${root}.final_layer_norm`) : undefined;
  const projectOut = projection(`${root}.project_out`, hiddenSize, wordEmbedProjDim);
  const tied = config.tieWordEmbeddings ? embedTokens : undefined;
  const head = build.head('lm_head', { in: wordEmbedProjDim, out: config.vocabSize }, tied);

  function embed({ ids, positions }: ForwardBatch): Tensor {
    const tokens = embedTokens.forward(ids);
    const hidden = projectIn?.forwardOne(tokens) ?? tokens;
    return embedPositions.forward(positions, { offset: POSITION_OFFSET, into: hidden });
  }

  function attend(layer: Layer, x: Tensor, batch: ForwardBatch, cache: ops.LayerCache): Tensor {
    const [q, k, v] = layer.qkv.forward(x) as [Tensor, Tensor, Tensor];
    ops.cacheAppend(q, k, v, { ...batch, cache });
    const mixed = ops.attention(q, { ...batch, cache, scale: headDim ** -0.5 });
    return layer.output.forwardOne(mixed);
  }

  const feedForward = (layer: Layer, x: Tensor): Tensor =>
    layer.fc2.forwardOne(layer.fc1.forwardOne(x, { activation: 'relu' }));

  /** Norm, block, add: each norm first adds what the block before it computed to the residual. */
  function preNorm(residual: Tensor, batch: ForwardBatch): Tensor {
    let delta: Tensor | undefined;
    for (const [i, layer] of layers.entries()) {
      const normed = normOf(layer.attentionNorm, delta, residual);
      const attended = attend(layer, normed, batch, batch.cache[i] as ops.LayerCache);
      delta = feedForward(layer, layer.mlpNorm.forward(attended, residual));
    }
    if (!delta) return residual;
    return finalNorm ? finalNorm.forward(delta, residual) : ops.add(delta, residual, residual);
  }

  /** Block, add, norm. */
  function postNorm(hidden: Tensor, batch: ForwardBatch): Tensor {
    let x = hidden;
    for (const [i, layer] of layers.entries()) {
      const attended = attend(layer, x, batch, batch.cache[i] as ops.LayerCache);
      x = layer.attentionNorm.forward(attended, x);
      x = layer.mlpNorm.forward(feedForward(layer, x), x);
    }
    return x;
  }

  return {
    layers: layers.length,
    kvHeads: config.numAttentionHeads,
    headDim,
    head,
    forward(batch) {
      const hidden = (config.doLayerNormBefore ? preNorm : postNorm)(embed(batch), batch);
      return projectOut?.forwardOne(hidden) ?? hidden;
    },
  };
}

function normOf(norm: Norm, delta: Tensor | undefined, residual: Tensor): Tensor {
  return delta ? norm.forward(delta, residual) : norm.forward(residual);
}
