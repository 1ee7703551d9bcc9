import type { JsonObject } from '../../lib/checkpoint/json';
import { GptqCheckpointConfig } from '../../lib/quant/gptq';
import { GptqConfig, type GptqOptions } from '../../lib/quant/gptq/config';

const read = (raw: JsonObject) => new GptqCheckpointConfig(raw);

describe('what programs write', () => {
  test.each<[string, JsonObject, object]>([
    [
      'AutoGPTQ',
      {
        bits: 4,
        group_size: 128,
        damp_percent: 0.01,
        desc_act: true,
        static_groups: false,
        sym: false,
        true_sequential: true,
        model_name_or_path: null,
        model_file_base_name: 'gptq_model-4bit-128g',
        quant_method: 'gptq',
        checkpoint_format: 'gptq',
      },
      { bits: 4, groupSize: 128, sym: false },
    ],
    [
      'AutoGPTQ, early',
      { w_bit: 3, q_group_size: -1, desc_act: false },
      { bits: 3, groupSize: -1, sym: true },
    ],
    [
      'GPTQModel',
      {
        bits: 8,
        dynamic: null,
        group_size: 32,
        desc_act: false,
        lm_head: false,
        method: 'gptq',
        quant_method: 'gptq',
        format: 'gptq',
        checkpoint_format: 'gptq',
        pack_dtype: 'int32',
        rotation: null,
        sym: true,
        meta: {
          quantizer: ['gptqmodel:4.0.0'],
          uri: 'https://github.com/modelcloud/gptqmodel',
          damp_percent: 0.05,
          damp_auto_increment: 0.01,
          static_groups: false,
          true_sequential: true,
          mse: 0,
          act_group_aware: true,
          gptaq: null,
          hessian: { chunk_size: null },
          offload_to_disk: true,
          pack_impl: 'cpu',
        },
      },
      { bits: 8, groupSize: 32, sym: true },
    ],
    [
      'optimum, with keys of older versions',
      {
        bits: 2,
        dataset: 'c4',
        tokenizer: null,
        group_size: 64,
        damp_percent: 0.1,
        desc_act: false,
        act_group_aware: true,
        sym: true,
        true_sequential: true,
        quant_method: 'gptq',
        // Not what the tensors say, as often.
        modules_in_block_to_quantize: [['self_attn.q_proj'], ['mlp.down_proj']],
        use_exllama: false,
        exllama_config: { version: 1 },
        use_cuda_fp16: true,
        model_seqlen: 2048,
        block_name_to_quantize: 'model.layers',
        module_name_preceding_first_block: ['model.embed_tokens'],
        batch_size: 1,
        pad_token_id: null,
        max_input_length: null,
        cache_block_outputs: true,
      },
      { bits: 2, groupSize: 64, sym: true },
    ],
  ])('%s', (_, raw, layer) => {
    expect(read(raw).layer).toEqual(layer);
  });

  test.each<[string, JsonObject, string, boolean]>([
    ['nothing', {}, 'gptq', false],
    ['checkpoint_format', { checkpoint_format: 'gptq_v2' }, 'gptq_v2', false],
    ['format', { format: 'gptq_v2' }, 'gptq_v2', false],
    ['both', { format: 'gptq', checkpoint_format: 'gptq_v2' }, 'gptq_v2', false],
    ['planes', { checkpoint_format: 'gptq_p' }, 'gptq_v2', true],
  ])('the format by %s', (_, raw, zeroFormat, planar) => {
    expect(read({ bits: 4, ...raw })).toMatchObject({ zeroFormat, planar });
  });
});

describe('dynamic', () => {
  const config = read({
    bits: 4,
    group_size: 128,
    sym: true,
    checkpoint_format: 'gptq',
    dynamic: {
      '-:.*\\.mlp\\.gate.*': {},
      '+:model\\.layers\\.0\\.': { bits: 8, group_size: 32, desc_act: true },
      'model\\.layers\\.[01]\\.': { bits: 3 },
      '.*down_proj': { sym: false },
    },
  });
  const LAYER = { bits: 4, groupSize: 128, sym: true };

  test.each<[string, object, boolean]>([
    ['model.layers.0.mlp.gate_proj', LAYER, true],
    // The first entry that fits counts.
    ['model.layers.0.mlp.up_proj', { ...LAYER, bits: 8, groupSize: 32 }, false],
    ['model.layers.1.mlp.down_proj', { ...LAYER, bits: 3 }, false],
    ['model.layers.2.mlp.down_proj', { ...LAYER, sym: false }, false],
    // From the beginning of the name, as Python's re.match.
    ['base.model.layers.0.mlp.up_proj', LAYER, false],
  ])('%s', (name, layer, skipped) => {
    expect(config.layerConfig(name)).toEqual(layer);
    expect(config.skips(name)).toBe(skipped);
  });

  test('one asymmetric layer makes the whole checkpoint v2', () => {
    expect(config.savedZeroFormat).toBe('gptq_v2');
    expect(config.diskConfig()).toMatchObject({ checkpoint_format: 'gptq_v2' });
    expect(config.hasDoubtfulZeros('model.layers.2.mlp.down_proj')).toBe(true);
    expect(config.hasDoubtfulZeros('model.layers.2.mlp.up_proj')).toBe(false);
  });
});

describe('zero points that programs may disagree about', () => {
  test.each<[string, JsonObject, boolean]>([
    ['asymmetric v1', { sym: false }, true],
    ['v1 that does not say', {}, true],
    ['symmetric v1', { sym: true }, false],
    ['asymmetric v2', { sym: false, checkpoint_format: 'gptq_v2' }, false],
    ['asymmetric in planes', { sym: false, checkpoint_format: 'gptq_p' }, false],
    ['of GPTQModel', { sym: false, meta: { quantizer: ['gptqmodel:1.4.2'] } }, false],
    [
      'of GPTQModel through optimum',
      { sym: false, meta: { quantizer: ['optimum:1.24.0', 'gptqmodel:1.9.0'] } },
      false,
    ],
    ['of a GPTQModel too old', { sym: false, meta: { quantizer: 'gptqmodel:0.8.1' } }, true],
    ['of another program', { sym: false, meta: { quantizer: ['intel/auto-round:0.5'] } }, true],
  ])('%s', (_, raw, doubtful) => {
    expect(read({ bits: 4, ...raw }).hasDoubtfulZeros('x')).toBe(doubtful);
  });
});

describe('what fewbit writes', () => {
  test.each<GptqOptions>([
    {},
    { bits: 2, groupSize: -1, sym: false },
    { bits: 3, groupSize: 32, descAct: true },
    { bits: 8, dynamic: { '-:.*gate': {}, '.*up': { bits: 4, group_size: 64, sym: false } } },
  ])('is read as it was meant: %j', (options) => {
    const config = new GptqConfig(options);
    const written = config.diskConfig();
    const again = read(written);
    const { bits, groupSize, sym } = config;
    expect(again.layer).toEqual({ bits, groupSize, sym });
    expect(again.zeroFormat).toBe(written.checkpoint_format);
    expect(again.zeroFormat).toBe(again.savedZeroFormat);
    // Loading and saving changes nothing.
    expect(again.diskConfig()).toEqual(written);
  });

  test('of a checkpoint with old names or in planes, in those of today', () => {
    expect(
      read({ w_bit: 4, q_group_size: 64, is_marlin_format: false, sym: true }).diskConfig(),
    ).toEqual({
      quant_method: 'gptq',
      bits: 4,
      group_size: 64,
      sym: true,
      checkpoint_format: 'gptq',
    });
    expect(
      read({ bits: 3, sym: false, format: 'gptq_p', checkpoint_format: 'gptq_p' }).diskConfig(),
    ).toMatchObject({ format: 'gptq_v2', checkpoint_format: 'gptq_v2' });
  });
});
