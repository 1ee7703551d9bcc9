import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, openCheckpoint, quantize } from '../../../lib';
import { layerPoints } from '../../../lib/quant/rptq/layer-points';
import { Folders, sourceOf, writeFolder } from '../../support/checkpoints';
import { goldenFolder, type RawTensor, readTensors, sampleFolder } from '../../support/golden';
import { writeSmallLlama } from '../../support/small-llama';
import { smallWindows, writeSmallModel } from './support/small-models';

const folders = new Folders();
afterAll(() => folders.dispose());

const windows = smallWindows(3, 32);
const Q = 'model.layers.1.self_attn.q_proj';
const DOWN = 'model.layers.0.mlp.down_proj';
const ATTENTION = 'model.layers.0.self_attn';

const open = (folder: string) => AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });

let made: { config: Record<string, unknown>; tensors: Map<string, RawTensor> };

beforeAll(async () => {
  const [original, out] = [folders.path(), folders.path()];
  await writeSmallModel(original, 'llama');
  await quantize(
    original,
    { method: 'rptq', config: 'W4A8', clusterSizes: 'balanced' },
    { out, device: 'cpu', dataset: windows },
  );
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'));
  made = { config, tensors: readTensors(join(out, 'model.safetensors')) };
});

interface Change {
  /** Of `quantization_config`. */
  quantization?: Record<string, unknown>;
  /** New contents, or undefined to leave the tensor out. */
  tensors?: Record<string, ((tensor: RawTensor) => RawTensor) | undefined>;
  added?: Record<string, RawTensor>;
}

async function changed({ quantization = {}, tensors = {}, added = {} }: Change): Promise<string> {
  const folder = folders.path();
  const own = made.config.quantization_config as object;
  const config = { ...made.config, quantization_config: { ...own, ...quantization } };
  const kept = [...made.tensors].flatMap(([name, tensor]) => {
    if (!(name in tensors)) return [sourceOf(name, tensor)];
    const change = tensors[name];
    return change ? [sourceOf(name, change(tensor))] : [];
  });
  const more = Object.entries(added).map(([name, tensor]) => sourceOf(name, tensor));
  await writeFolder(folder, config, [...kept, ...more]);
  return folder;
}

const values = (change: (values: Int32Array) => void) => (tensor: RawTensor) => {
  const copy = new Int32Array(tensor.bytes.slice().buffer);
  change(copy);
  return { ...tensor, bytes: new Uint8Array(copy.buffer) };
};
const floats = (change: (values: Float32Array) => void) =>
  values((words) => change(new Float32Array(words.buffer)));
const shortened = ({ dtype, bytes }: RawTensor): RawTensor => {
  const shorter = bytes.slice(0, bytes.length - 4);
  return { dtype, shape: [shorter.length / 4], bytes: shorter };
};
const ints = (...list: number[]): RawTensor => ({
  dtype: 'I32',
  shape: [list.length],
  bytes: new Uint8Array(Int32Array.from(list).buffer),
});
const BITS = { weights: 4, norm: 8, query: 8, cache: 8, inner: 8 };

test.each<[string, Change, RegExp]>([
  [
    'another version',
    { quantization: { version: 3 } },
    /version 3 of the RPTQ layout; supported: 1, 2\./,
  ],
  ['no version', { quantization: { version: undefined } }, /version undefined/],
  ['other bits', { quantization: { bits: { ...BITS, cache: 5 } } }, /configuration.*wrong.*cache/],
  ['bits of other weights', { quantization: { bits: { ...BITS, weights: 3 } } }, /qweight is i32/],
  [
    'unquantized weights',
    { quantization: { bits: { ...BITS, weights: 16 } } },
    /weights have 16 bits/,
  ],
  [
    'an order too short',
    { tensors: { [`${Q}.input_order`]: shortened } },
    /q_proj\.input_order is i32\[63\].*i32\[64\]/,
  ],
  [
    'an order with a channel twice',
    { tensors: { [`${Q}.input_order`]: values((order) => order.copyWithin(3, 2, 3)) } },
    /q_proj\.input_order\[3\] is \d+.*each of the 64 channels once/,
  ],
  [
    'an order with a channel that is not there',
    { tensors: { [`${Q}.input_order`]: values((order) => order.fill(64, 5, 6)) } },
    /q_proj\.input_order\[5\] is 64/,
  ],
  [
    'rows in no order',
    { tensors: { [`${ATTENTION}.v_proj.output_order`]: values((order) => order.fill(-1, 0, 1)) } },
    /v_proj\.output_order\[0\] is -1/,
  ],
  [
    'q in another order than k and v',
    { tensors: { [`${Q}.input_order`]: values((order) => order.reverse()) } },
    /k_proj and .*q_proj read one input/,
  ],
  [
    'clusters that do not add up',
    { tensors: { [`${DOWN}.input_clusters`]: values((sizes) => sizes.fill(31, 0, 1)) } },
    /down_proj\.input_clusters adds up to 95.*96/,
  ],
  [
    'scales for fewer clusters',
    { tensors: { [`${DOWN}.input_scales`]: shortened } },
    /down_proj\.input_scales is f32\[2\].*f32\[3\]/,
  ],
  [
    'no zero points',
    { tensors: { [`${DOWN}.input_zeros`]: undefined } },
    /no tensor .*down_proj\.input_zeros/,
  ],
  [
    'a scale of 0',
    { tensors: { [`${DOWN}.input_scales`]: floats((scales) => scales.fill(0, 1, 2)) } },
    /down_proj\.input_scales holds a scale that is not positive/,
  ],
  [
    'a rotation in blocks that do not divide the channels',
    { added: { [`${DOWN}.input_rotation`]: ints(64) } },
    /down_proj\.input_rotation is 64.*divides the 96 inputs/,
  ],
  [
    'a rotation of two widths',
    { added: { [`${DOWN}.input_rotation`]: ints(32, 32) } },
    /down_proj\.input_rotation is i32\[2\].*i32\[1\]/,
  ],
  [
    'a rotation of what a norm reorders',
    { added: { [`${Q}.input_rotation`]: ints(32) } },
    /q_proj\.input_rotation is 32.*without input_order/,
  ],
  [
    'scales that are no groups',
    { tensors: { [`${DOWN}.scales`]: (t) => ({ ...t, shape: [(t.shape[0] as number) * 4, 16] }) } },
    /down_proj\.scales is \[12, 16\]/,
  ],
  [
    'a bias of another length',
    { tensors: { [`${DOWN}.bias`]: shortened } },
    /down_proj\.bias is f32\[63\]/,
  ],
  [
    'no grid of a cache',
    { tensors: { [`${ATTENTION}.key_grid`]: undefined } },
    /no tensor .*key_grid/,
  ],
  [
    'a grid of another shape',
    { tensors: { [`${ATTENTION}.query_grid`]: shortened } },
    /query_grid is f32\[255\].*f32\[2, 128\]/,
  ],
  [
    'a grid that is not positive',
    { tensors: { [`${ATTENTION}.value_grid`]: floats((grid) => grid.fill(-1, 0, 1)) } },
    /value_grid holds a scale that is not positive/,
  ],
])('a checkpoint with %s', async (_, change, message) => {
  await expect(open(await changed(change))).rejects.toThrow(message);
});

test('a truncated file', async () => {
  const folder = await changed({});
  await (await open(folder)).dispose();
  const path = join(folder, 'model.safetensors');
  truncateSync(path, readFileSync(path).length - 100);
  await expect(open(folder)).rejects.toThrow(/model\.safetensors/);
});

describe('models', () => {
  const rptq = (folder: string, config: object = {}) =>
    quantize(
      folder,
      { method: 'rptq', ...config },
      { out: folders.path(), device: 'cpu', dataset: windows },
    );

  test('whose norms stand behind their blocks', async () => {
    await expect(rptq(goldenFolder('opt-350m-style'))).rejects.toThrow(
      /stand after its blocks.*gptq/,
    );
  });

  test('of other architectures', async () => {
    const { config } = await openCheckpoint(sampleFolder('sample-bitnet'));
    expect(() => layerPoints(config, 0)).toThrow(/bitnet are not supported; supported: llama, opt/);
  });

  test('whose widths are no multiples of 32, but for the cache alone', async () => {
    const folder = folders.path();
    await writeSmallLlama(folder, { hidden: 48 });
    await expect(rptq(folder)).rejects.toThrow(/q_proj is 64 x 48.*multiples of 32/);
    const { layers } = await rptq(folder, { config: 'W16A16-KV4' });
    expect(layers).toEqual([]);
  });

  test('that are quantized already, and quantizing on load', async () => {
    const folder = await changed({});
    await expect(rptq(folder)).rejects.toThrow(
      /quantized already, by rptq: RPTQ needs the original/,
    );
    const onLoad = (of: string, quantization: object) =>
      AutoModelForCausalLM.fromPretrained(of, { device: 'cpu', quantization } as never);
    await expect(onLoad(folder, { method: 'llm.int8' })).rejects.toThrow(
      /quantized by RPTQ already/,
    );
    await expect(onLoad(sampleFolder('sample-opt'), { method: 'rptq' })).rejects.toThrow(
      /rptq needs calibration.*--method rptq/,
    );
  });

  test('without text', async () => {
    const options = { out: folders.path(), device: 'cpu' } as const;
    const run = quantize(sampleFolder('sample-opt'), { method: 'rptq' }, options);
    await expect(run).rejects.toThrow(/RPTQ needs a dataset/);
  });
});
