import type { LlamaConfig } from '../checkpoint/config';
import * as ops from '../ops';
import type { Tensor } from '../tensor';
import type { ModelBuilder } from './builder';
import type { Decoder } from './decoder';

/** Llama (arXiv 2302.13971, 2307.09288, 2407.21783): RMS norms, rotary positions, gated MLP. */
export function llama(config: LlamaConfig, build: ModelBuilder): Decoder {
  const { hiddenSize, headDim, intermediateSize, rmsNormEps } = config;
  const { attentionBias, mlpBias } = config;
  const queryWidth = config.numAttentionHeads * headDim;
  const keyWidth = config.numKeyValueHeads * headDim;

  const embedTokens = build.embedding('model.embed_tokens', config.vocabSize, hiddenSize);
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i) => {
    const attn = `model.layers.${i}.self_attn`;
    const mlp = `model.layers.${i}.mlp`;
    return {
      inputNorm: build.rmsNorm(`model.layers.${i}.input_layernorm`, hiddenSize, rmsNormEps),
      qkv: build.linears(
        [
          { name: `${attn}.q_proj`, outFeatures: queryWidth },
          { name: `${attn}.k_proj`, outFeatures: keyWidth },
          { name: `${attn}.v_proj`, outFeatures: keyWidth },
        ],
        hiddenSize,
        attentionBias,
      ),
      output: build.linear(`${attn}.o_proj`, {
        in: queryWidth,
        out: hiddenSize,
        bias: attentionBias,
      }),
      mlpNorm: build.rmsNorm(`model.layers.${i}.post_attention_layernorm`, hiddenSize, rmsNormEps),
      gateUp: build.linears(
        [
          { name: `${mlp}.gate_proj`, outFeatures: intermediateSize },
          { name: `${mlp}.up_proj`, outFeatures: intermediateSize },
        ],
        hiddenSize,
        mlpBias,
      ),
      down: build.linear(`${mlp}.down_proj`, {
        in: intermediateSize,
        out: hiddenSize,
        bias: mlpBias,
      }),
    };
  });
  const norm = build.rmsNorm('model.norm', hiddenSize, rmsNormEps);
  const tied = config.tieWordEmbeddings ? embedTokens : undefined;
  const head = build.head('lm_head', { in: hiddenSize, out: config.vocabSize }, tied);

  return {
    layers: layers.length,
    kvHeads: config.numKeyValueHeads,
    headDim,
    head,
    forward(batch, rope) {
      const residual = embedTokens.forward(batch.ids);
      // Each norm first adds what the block before it computed to the residual stream.
      let normed = layers[0]?.inputNorm.forward(residual) ?? residual;
      for (const [i, layer] of layers.entries()) {
        const cache = batch.cache[i] as ops.LayerCache;
        const [q, k, v] = layer.qkv.forward(normed) as [Tensor, Tensor, Tensor];
        ops.cacheAppend(q, k, v, { ...batch, rope, cache });
        const mixed = ops.attention(q, { ...batch, cache, scale: headDim ** -0.5 });
        const attended = layer.output.forwardOne(mixed);
        const [gate, up] = layer.gateUp.forward(layer.mlpNorm.forward(attended, residual)) as [
          Tensor,
          Tensor,
        ];
        const delta = layer.down.forwardOne(ops.siluMul(gate, up));
        normed = (layers[i + 1]?.inputNorm ?? norm).forward(delta, residual);
      }
      return normed;
    },
  };
}
