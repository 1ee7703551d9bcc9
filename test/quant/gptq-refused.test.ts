import { AutoModelForCausalLM } from '../../lib';
import { Folders } from '../support/checkpoints';
import { goldenFolder, type RawTensor } from '../support/golden';
import { gptqVariant, int32, type Tensors, type Variant } from '../support/gptq-checkpoint';

const folders = new Folders();
afterAll(() => folders.dispose());

const SYM = 'gptq-8bit-g32-sym-v1';
const UP = 'model.layers.1.mlp.up_proj';

const open = (folder: string) => AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
const variant = (golden: string, change: Variant) => gptqVariant(folders, golden, change);

describe('refused, saying why', () => {
  const layer = (part: string, change: (tensor: RawTensor) => RawTensor) => (tensors: Tensors) =>
    tensors.set(`${UP}.${part}`, change(tensors.get(`${UP}.${part}`) as RawTensor));
  const group = (index: number, value: number) =>
    layer('g_idx', ({ shape, bytes }) => {
      const groups = new Int32Array(bytes.slice().buffer);
      groups[index] = value;
      return int32(shape, groups);
    });

  test.each<[string, Variant, RegExp]>([
    ['a group too high', { tensors: group(7, 4) }, /up_proj\.g_idx\[7\] is 4.*4 groups/],
    ['a group too low', { tensors: group(0, -5) }, /up_proj\.g_idx\[0\] is -5/],
    [
      'a g_idx too short',
      { tensors: layer('g_idx', () => int32([96], new Array(96).fill(0))) },
      /i32\[96\].*i32\[128\]/,
    ],
    [
      'a g_idx of two orders',
      {
        tensors: layer('g_idx', () => int32([256], [...Array(128).fill(0), ...Array(128).fill(1)])),
      },
      /256 groups for 128/,
    ],
    [
      'a qweight of another shape',
      { tensors: layer('qweight', (tensor) => ({ ...tensor, shape: [64, 128] })) },
      /up_proj\.qweight.*\[64, 128\].*\[32, 256\]/,
    ],
    [
      'qzeros of another shape',
      { tensors: layer('qzeros', (tensor) => ({ ...tensor, shape: [64, 4] })) },
      /up_proj\.qzeros/,
    ],
    [
      'scales of another shape',
      { tensors: layer('scales', (tensor) => ({ ...tensor, shape: [256, 4] })) },
      /up_proj\.scales/,
    ],
    [
      'outputs that do not fill words',
      { quantization: { dynamic: { '.*gate': { bits: 2 } } }, config: { intermediate_size: 248 } },
      /gate_proj is 128 x 248.*2 bits/,
    ],
    [
      'no scales',
      { tensors: (tensors) => tensors.delete(`${UP}.scales`) },
      /holds no tensor.*up_proj\.scales/,
    ],
    [
      'no bias where the architecture has one',
      { config: { attention_bias: true } },
      /holds no tensor.*q_proj\.bias/,
    ],
    ['another width than the tensors have', { quantization: { bits: 4 } }, /4 bits/],
    ['other groups than the tensors have', { quantization: { group_size: 64 } }, /groups of 64/],
    ['no configuration', { bare: true }, /qweight.*quantize_config\.json/],
    ['5 bits', { quantization: { bits: 5 } }, /5 bits.*2, 3, 4, 8/],
    ['no width', { quantization: { bits: undefined } }, /no width/],
    ['groups of 0', { quantization: { group_size: 0 } }, /group_size 0/],
    ['a width in words', { quantization: { bits: 'four' } }, /bits/],
    ['5 bits in dynamic', { quantization: { dynamic: { x: { bits: 5 } } } }, /5 bits/],
    ['a broken pattern', { quantization: { dynamic: { '+:(x': {} } } }, /\(x.*regular expression/],
    ['marlin', { quantization: { is_marlin_format: true } }, /marlin.*'gptq' format/],
    ['marlin as a method', { quantization: { quant_method: 'marlin' } }, /marlin.*'gptq' format/],
    ['marlin as a format', { quantization: { checkpoint_format: 'marlin' } }, /marlin kernels/],
    ['bitblas', { quantization: { checkpoint_format: 'bitblas' } }, /bitblas.*fewbit quantize/],
    ['exl3', { quantization: { checkpoint_format: 'exl3' } }, /exl3.*fewbit quantize/],
    [
      'a format that is not known',
      { quantization: { checkpoint_format: 'gptq_v3' } },
      /gptq_v3.*gptq, gptq_v2, gptq_p.*fewbit quantize/,
    ],
    ['7 bits in planes', { quantization: { checkpoint_format: 'gptq_p', bits: 7 } }, /7 bits/],
    ['64-bit words', { quantization: { pack_dtype: 'int64' } }, /int64/],
    ['rotated weights', { quantization: { rotation: 'hadamard' } }, /hadamard/],
    ['awq', { quantization: { quant_method: 'awq' } }, /by awq.*supported: gptq.*the original/],
    [
      'an old file of awq',
      { quantization: { quant_method: undefined, zero_point: true } },
      /by awq.*supported: gptq/,
    ],
    [
      'compressed-tensors',
      { quantization: { quant_method: 'compressed-tensors', format: 'pack-quantized' } },
      /compressed-tensors \(format pack-quantized\).*supported: gptq/,
    ],
    [
      'bitsandbytes in 4 bits',
      { quantization: { quant_method: 'bitsandbytes', load_in_4bit: true } },
      /bitsandbytes in 4 bits.*supported/,
    ],
  ])('%s', async (_, change, message) => {
    const error: unknown = await open(await variant(SYM, change)).catch((reason) => reason);
    expect(error).toMatchObject({
      code: expect.stringMatching(/^ERR_FEWBIT_(CHECKPOINT|UNSUPPORTED)$/) as string,
      message: expect.stringMatching(message) as string,
    });
  });

  test('quantizing it once more', async () => {
    const again = AutoModelForCausalLM.fromPretrained(goldenFolder(SYM), {
      device: 'cpu',
      quantization: { method: 'llm.int8' },
    });
    await expect(again).rejects.toMatchObject({ code: 'ERR_FEWBIT_OPTIONS' });
  });
});
