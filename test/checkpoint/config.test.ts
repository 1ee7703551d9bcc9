import type { BitnetConfig, LlamaConfig, OptConfig } from '../../lib/checkpoint/config';
import { parseConfig } from '../../lib/checkpoint/config';
import { parseGenerationConfig } from '../../lib/checkpoint/generation-config';
import { CheckpointError, UnsupportedError } from '../../lib/errors';

const llama = (rest: object = {}) => parseConfig({ model_type: 'llama', ...rest }) as LlamaConfig;
const opt = (rest: object = {}) => parseConfig({ model_type: 'opt', ...rest }) as OptConfig;

describe('BitnetConfig', () => {
  const bitnet = (rest: object) => parseConfig(rest) as BitnetConfig;

  it('has the defaults of transformers, which are those of 2B4T', () => {
    expect(bitnet({ model_type: 'bitnet' })).toMatchObject({
      modelType: 'bitnet',
      vocabSize: 128256,
      hiddenSize: 2560,
      intermediateSize: 6912,
      numHiddenLayers: 30,
      numAttentionHeads: 20,
      numKeyValueHeads: 5,
      headDim: 128,
      rmsNormEps: 1e-5,
      hiddenAct: 'relu2',
      tieWordEmbeddings: false,
      rope: { type: 'default', theta: 500000 },
      naming: 'transformers',
      quantization: undefined,
    });
  });

  it('is bf16 whatever the weights were saved in', () => {
    expect(bitnet({ model_type: 'bitnet', dtype: 'float16' }).dtype).toBe('bf16');
  });

  it('tells the 1bitLLM models, whose model_type is that of Llama', () => {
    const raw = { model_type: 'llama', architectures: ['BitnetForCausalLM'], weight_bits: 1 };
    expect(bitnet({ ...raw, input_bits: 8, hidden_size: 3200 })).toMatchObject({
      modelType: 'bitnet',
      numKeyValueHeads: 32,
      headDim: 100,
      hiddenAct: 'silu',
      rope: { type: 'default', theta: 10000 },
      naming: '1bitLLM',
      quantization: { quant_method: 'bitnet', quantization_mode: 'online' },
    });
    expect(() => bitnet({ ...raw, input_bits: 4 })).toThrow(/input_bits '4' is not supported/);
    expect(parseConfig({ ...raw, architectures: ['LlamaForCausalLM'] }).modelType).toBe('llama');
  });
});

describe('LlamaConfig', () => {
  it('has the defaults of transformers', () => {
    expect(llama()).toEqual({
      modelType: 'llama',
      vocabSize: 32000,
      hiddenSize: 4096,
      intermediateSize: 11008,
      numHiddenLayers: 32,
      numAttentionHeads: 32,
      numKeyValueHeads: 32,
      headDim: 128,
      rmsNormEps: 1e-6,
      hiddenAct: 'silu',
      attentionBias: false,
      mlpBias: false,
      maxPositionEmbeddings: 2048,
      tieWordEmbeddings: false,
      bosTokenId: 1,
      eosTokenIds: [2],
      padTokenId: undefined,
      dtype: undefined,
      quantization: undefined,
      rope: { type: 'default', theta: 10000 },
    });
  });

  it('reads the older form', () => {
    const config = llama({
      torch_dtype: 'bfloat16',
      rope_theta: 500000.0,
      rope_scaling: {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
        rope_type: 'llama3',
      },
      max_position_embeddings: 131072,
      num_key_value_heads: 8,
      eos_token_id: [128001, 128008, 128009],
      head_dim: null,
    });
    expect(config).toMatchObject({ dtype: 'bf16', numKeyValueHeads: 8, headDim: 128 });
    expect(config.eosTokenIds).toEqual([128001, 128008, 128009]);
    expect(config.rope).toEqual({
      type: 'llama3',
      theta: 500000,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    });
  });

  it('reads the newer form', () => {
    const rope_parameters = { rope_theta: 1e6, rope_type: 'linear', factor: 4 };
    const config = llama({ dtype: 'float16', rope_parameters });
    expect(config.dtype).toBe('f16');
    expect(config.rope).toEqual({ type: 'linear', theta: 1e6, factor: 4 });
  });

  it.each([
    [{ rope_scaling: null }, { type: 'default', theta: 10000 }],
    [{ rope_theta: null }, { type: 'default', theta: 10000 }],
    [
      { rope_theta: 5e5, rope_parameters: { rope_type: 'default' } },
      { type: 'default', theta: 5e5 },
    ],
    [{ rope_scaling: { type: 'linear', factor: 2 } }, { type: 'linear', theta: 10000, factor: 2 }],
    [
      { rope_scaling: { type: 'linear', rope_type: 'default', factor: 2 } },
      { type: 'default', theta: 10000 },
    ],
  ])('reads the rope of %j', (raw, rope) => {
    expect(llama(raw).rope).toEqual(rope);
  });

  it.each(['yarn', 'dynamic', 'longrope', 'ntk'])('refuses rope of type %s', (rope_type) => {
    const parse = () => llama({ rope_scaling: { rope_type, factor: 2 } });
    expect(parse).toThrow(UnsupportedError);
    expect(parse).toThrow(new RegExp(`'${rope_type}' is not supported.*default, linear, llama3`));
  });

  it.each([
    [{ rope_scaling: { type: 'linear' } }, /needs factor/],
    [{ rope_scaling: { type: 'llama3', factor: 2 } }, /needs low_freq_factor/],
    [
      { rope_scaling: { type: 'llama3', factor: 2, low_freq_factor: 4, high_freq_factor: 4 } },
      /low_freq_factor must be below/,
    ],
    [{ rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 } }, /partial_rotary/],
  ])('refuses the rope %j', (raw, message) => {
    expect(() => llama(raw)).toThrow(message);
  });

  it('refuses other activations', () => {
    expect(() => llama({ hidden_act: 'gelu' })).toThrow(/hidden_act 'gelu'.*supported: silu/);
  });

  it.each<[object, RegExp]>([
    [{ hidden_size: 'big' }, /hidden_size/],
    [{ hidden_size: -1 }, /hidden_size/],
    [{ hidden_size: 1e12 }, /hidden_size/],
    [{ num_hidden_layers: 2.5 }, /num_hidden_layers/],
    [{ hidden_size: 100, num_attention_heads: 3 }, /not a multiple of num_attention_heads/],
    [{ num_attention_heads: 32, num_key_value_heads: 5 }, /num_key_value_heads/],
    [{ head_dim: 63 }, /head_dim: is odd/],
    [{ rms_norm_eps: -1 }, /rms_norm_eps/],
    [{ tie_word_embeddings: 'yes' }, /tie_word_embeddings/],
    [{ eos_token_id: 'x' }, /eos_token_id/],
    [{ quantization_config: 'gptq' }, /quantization_config: expected an object/],
    [{ hidden_size: 'a', vocab_size: 0 }, /hidden_size.*vocab_size|vocab_size.*hidden_size/],
  ])('refuses %j', (raw, message) => {
    expect(() => llama(raw)).toThrow(CheckpointError);
    expect(() => llama(raw)).toThrow(message);
  });
});

describe('OptConfig', () => {
  it('has the defaults of transformers', () => {
    expect(opt()).toMatchObject({
      modelType: 'opt',
      vocabSize: 50272,
      hiddenSize: 768,
      ffnDim: 3072,
      numHiddenLayers: 12,
      numAttentionHeads: 12,
      maxPositionEmbeddings: 2048,
      wordEmbedProjDim: 768,
      doLayerNormBefore: true,
      enableBias: true,
      layerNormElementwiseAffine: true,
      removeFinalLayerNorm: false,
      activationFunction: 'relu',
      tieWordEmbeddings: true,
      bosTokenId: 2,
      eosTokenIds: [2],
      padTokenId: 1,
    });
  });

  it('reads what opt-350m has of its own', () => {
    const raw = { hidden_size: 1024, word_embed_proj_dim: 512, do_layer_norm_before: false };
    const config = opt({ ...raw, num_attention_heads: 16, _remove_final_layer_norm: true });
    expect(config).toMatchObject({ wordEmbedProjDim: 512, doLayerNormBefore: false });
    expect(config.removeFinalLayerNorm).toBe(true);
  });

  it('refuses other activations', () => {
    expect(() => opt({ activation_function: 'gelu' })).toThrow(/'gelu' is not supported.*relu/);
  });
});

describe('parseConfig', () => {
  it('finds the architecture by class when there is no model_type', () => {
    expect(parseConfig({ architectures: ['OPTForCausalLM'] }).modelType).toBe('opt');
    expect(parseConfig({ architectures: ['LLaMAForCausalLM'] }).modelType).toBe('llama');
  });

  it.each<[unknown, RegExp]>([
    [{ model_type: 't5' }, /architecture 't5' is not supported; supported: .*llama.*opt/],
    [{ architectures: ['T5Model'] }, /'T5Model' is not supported/],
    [{ model_type: 'llama', architectures: ['LlamaForSequenceClassification'] }, /only LlamaForC/],
    [{ model_type: 'llama', dtype: 'float64' }, /dtype 'float64' is not supported/],
  ])('refuses %j as unsupported', (raw, message) => {
    expect(() => parseConfig(raw)).toThrow(UnsupportedError);
    expect(() => parseConfig(raw)).toThrow(message);
  });

  it.each([null, 7, [], {}, { model_type: 3 }])('refuses %j as damaged', (raw) => {
    expect(() => parseConfig(raw)).toThrow(CheckpointError);
  });

  it('keeps the quantization config as it is', () => {
    const quantization_config = { quant_method: 'gptq', bits: 4, group_size: 128 };
    expect(llama({ quantization_config }).quantization).toEqual(quantization_config);
  });

  it.each([
    [null, undefined, []],
    [-1, undefined, []],
    [5, 5, [5]],
  ])('reads token id %j', (id, single, list) => {
    const config = llama({ pad_token_id: id, bos_token_id: id, eos_token_id: id });
    expect(config.padTokenId).toBe(single);
    expect(config.bosTokenId).toBe(single);
    expect(config.eosTokenIds).toEqual(list);
  });

  it('takes the names of dtypes with and without torch', () => {
    expect(llama({ torch_dtype: 'torch.float32' }).dtype).toBe('f32');
    expect(llama({ dtype: 'bfloat16', torch_dtype: 'float16' }).dtype).toBe('bf16');
    expect(llama({ dtype: 'auto' }).dtype).toBeUndefined();
  });
});

describe('parseGenerationConfig', () => {
  it('reads what makers recommend', () => {
    const raw = { do_sample: true, temperature: 0.6, top_k: 20, top_p: 0.9, eos_token_id: 3 };
    expect(parseGenerationConfig({ ...raw, unknown: 1 }, 'g.json')).toMatchObject({
      doSample: true,
      temperature: 0.6,
      topK: 20,
      topP: 0.9,
      eosTokenIds: [3],
    });
  });

  it('names what is wrong', () => {
    expect(() => parseGenerationConfig({ top_k: 'x' }, 'g.json')).toThrow(/g\.json.*top_k/);
  });
});
