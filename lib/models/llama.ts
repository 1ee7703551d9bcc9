import type { LlamaConfig } from '../checkpoint/config';
import type { GatedUnit } from '../nn/linear-input';
import type { Tensor } from '../tensor';
import type { ModelBuilder } from './builder';
import { type Decoder, type DecoderLayer, normedInput, normOf } from './decoder';

/** The configuration as far as it is that of all architectures of this shape. */
export type LlamaShape = Omit<LlamaConfig, 'modelType' | 'hiddenAct'>;

/** What sets architectures of this shape apart from each other. */
export interface LlamaVariant {
  readonly activation: GatedUnit;
  /** Names, in `self_attn` and `mlp`, of norms before the last projection of each block. */
  readonly subNorms?: { readonly attention: string; readonly mlp: string };
}

/** Llama (arXiv 2302.13971, 2307.09288, 2407.21783): RMS norms, rotary positions, gated MLP. */
export function llama(config: LlamaConfig, build: ModelBuilder): Decoder {
  return llamaDecoder(config, build, { activation: config.hiddenAct });
}

/** A decoder of Llama's shape. */
export function llamaDecoder(
  config: LlamaShape,
  build: ModelBuilder,
  variant: LlamaVariant,
): Decoder {
  const { hiddenSize, headDim, rmsNormEps } = config;
  const embedTokens = build.embedding('model.embed_tokens', config.vocabSize, hiddenSize);
  const layers = build.layers(config.numHiddenLayers, (i) =>
    llamaLayer(config, build, { ...variant, name: `model.layers.${i}` }),
  );
  const norm = build.rmsNorm('model.norm', hiddenSize, rmsNormEps);
  const tied = config.tieWordEmbeddings ? embedTokens : undefined;
  const head = build.head('lm_head', { in: hiddenSize, out: config.vocabSize }, tied);
  return {
    kvHeads: config.numKeyValueHeads,
    headDim,
    embed: ({ ids }) => embedTokens.forward(ids),
    layers,
    finish: (state) => normOf(norm, state),
    head,
  };
}

function llamaLayer(
  config: LlamaShape,
  build: ModelBuilder,
  { name, activation, subNorms }: LlamaVariant & { name: string },
): DecoderLayer {
  const { hiddenSize, headDim, intermediateSize, rmsNormEps } = config;
  const { attentionBias, mlpBias } = config;
  const queryWidth = config.numAttentionHeads * headDim;
  const keyWidth = config.numKeyValueHeads * headDim;
  const attn = `${name}.self_attn`;
  const mlp = `${name}.mlp`;

  const inputNorm = build.rmsNorm(`${name}.input_layernorm`, hiddenSize, rmsNormEps);
  const qkv = build.linears(
    [
      { name: `${attn}.q_proj`, outFeatures: queryWidth },
      { name: `${attn}.k_proj`, outFeatures: keyWidth },
      { name: `${attn}.v_proj`, outFeatures: keyWidth },
    ],
    hiddenSize,
    attentionBias,
  );
  const attention = build.attention(attn, {
    heads: config.numAttentionHeads,
    kvHeads: config.numKeyValueHeads,
    headDim,
  });
  const attentionNorm =
    subNorms && build.rmsNorm(`${attn}.${subNorms.attention}`, queryWidth, rmsNormEps);
  const output = build.linear(`${attn}.o_proj`, {
    in: queryWidth,
    out: hiddenSize,
    bias: attentionBias,
  });
  const mlpNorm = build.rmsNorm(`${name}.post_attention_layernorm`, hiddenSize, rmsNormEps);
  const gateUp = build.linears(
    [
      { name: `${mlp}.gate_proj`, outFeatures: intermediateSize },
      { name: `${mlp}.up_proj`, outFeatures: intermediateSize },
    ],
    hiddenSize,
    mlpBias,
  );
  const downNorm =
    subNorms && build.rmsNorm(`${mlp}.${subNorms.mlp}`, intermediateSize, rmsNormEps);
  const down = build.linear(`${mlp}.down_proj`, {
    in: intermediateSize,
    out: hiddenSize,
    bias: mlpBias,
  });

  return {
    forward(state, inputs) {
      const { residual } = state;
      const [q, k, v] = qkv.forward(normedInput(inputNorm, state)) as [Tensor, Tensor, Tensor];
      const mixed = attention.forward(q, k, v, inputs);
      const attended = output.addOne({ x: mixed, norm: attentionNorm }, residual);
      const after = normedInput(mlpNorm, { residual, delta: attended });
      const [gate, up] = gateUp.forward(after) as [Tensor, Tensor];
      const gated = { activation, up };
      return { residual, delta: down.addOne({ x: gate, gated, norm: downNorm }, residual) };
    },
  };
}
